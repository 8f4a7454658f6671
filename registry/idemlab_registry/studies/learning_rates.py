"""Error against learning rate: the cubic iteration and the canonical gradient, as the paper compares them and controlled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study
from idemlab.wording import number

from . import learning_rate_figures as figures
from .arms import Arm, Outcome, Pair, arms_of, pairs, range_of
from .paper import HEADLINE, POSTER, RATES
from .unstated_choices import candidates, nearest

__all__ = ["examine", "study"]

CONTROLS = {
    "control-rates": "SGD, tuned until it diverges",
    "control-normalised": "gradient norm matched",
    "control-adam": "Adam",
    "control-muon": "Muon",
    "control-residual": "SGD, residual start",
    "control-torus": "SGD, torus reconstructed",
    "control-torus-adam": "Adam, torus reconstructed",
}
"""Group of sweeps -> in words."""
COLUMNS = 3
"""Configurations side by side in a figure."""


def study() -> Study:
    """The study, with the sweeps of learning_rates.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """Curves, final errors, best against best, the search over unstated choices, and the controls."""
    definitions = study().quick if material.quick else study().sweeps
    results = {name: one for name, one in material.results.items() if name in definitions}
    arms = [arm for arm in arms_of(results, definitions) if arm.outcomes]
    paper = [arm for arm in arms if arm.group.startswith("paper")]
    protocol = pairs(paper, among=RATES)
    tried = protocol + pairs((arm for arm in arms if arm.group.startswith("search")), among=RATES)
    controlled = _controlled(arms, paper)
    findings = Findings(text=_text(material, arms))
    _draw_protocol(findings, paper, material)
    if protocol:
        findings.tables["best"] = _table([_row(pair) for pair in protocol])
        findings.captions["best"] = (
            "Best against best under the paper's protocol: each method at its best rate by the median absolute error. "
            "Ratios are gradient over cubic, median and range over the seeds."
        )
    _draw_search(findings, tried)
    _draw_controls(findings, protocol, controlled)
    findings.claims = [
        *_claims_of_the_poster(tried, controlled),
        *_claims_under_controls(protocol, controlled),
    ]
    return findings


def _controlled(arms: Sequence[Arm], paper: Sequence[Arm]) -> dict[str, list[Pair]]:
    """Pairs of each control; the further rates of `control-rates` join those of the paper."""
    own = {(arm.configuration, arm.method, arm.constant): arm for arm in paper}
    found: dict[str, list[Pair]] = {}
    for group in CONTROLS:
        members = [arm for arm in arms if arm.group == group]
        if group == "control-rates":
            keyed = [(arm, own.get((arm.configuration, arm.method, arm.constant))) for arm in members]
            members = [arm.joined(known) if known else arm for arm, known in keyed]
        if compared := pairs(members):
            found[group] = compared
    return found


# -- figures and tables -------------------------------------------------------------------------------------------------


def _draw_protocol(findings: Findings, paper: Sequence[Arm], material: Material) -> None:
    configurations = list(dict.fromkeys(arm.configuration for arm in paper))
    panels = [(c, [arm for arm in paper if arm.configuration == c]) for c in configurations]
    if not panels:
        return
    for first in range(0, len(panels), COLUMNS):
        name = "final-error" if first == 0 else f"final-error-{first // COLUMNS + 1}"
        findings.figures[name] = figures.error_against_rate(panels[first : first + COLUMNS])
        findings.captions[name] = (
            "What plain SGD without a data term leaves, against the learning rate, whose values stand side by side: "
            "absolute error and relative error, medians over the seeds with lines from the lowest to the highest, which "
            "the frame may cut. Below, the share of the seeds that ended with each verdict."
        )
    for configuration, members in panels:
        material.say(f"curves of {configuration}")
        name = "epochs-" + configuration.replace(" ", "").replace(",", "-")
        there = [any(one.trial.run.metrics_file.is_file() for one in arm.outcomes) for arm in members]
        findings.figures[name] = figures.error_against_epoch(members) if all(there) else None
        findings.captions[name] = (
            f"{configuration}: error against epoch for every learning rate. Crosses: diverged there, for some seeds."
        )


def _draw_search(findings: Findings, tried: Sequence[Pair]) -> None:
    table = candidates(tried)
    if table.empty:
        return
    findings.tables["search"] = table
    findings.captions["search"] = (
        "What the paper does not state, tried: the distance is the mean over the poster's errors of |log10 ours/theirs|, "
        "at most one decade each."
    )
    findings.figures["search"] = figures.matches(nearest(tried))
    findings.captions["search"] = findings.captions["search"] + " The figure shows the nearest of all."


def _draw_controls(findings: Findings, protocol: Sequence[Pair], controlled: dict[str, list[Pair]]) -> None:
    compared = [("SGD, the paper's rates", pair) for pair in protocol]
    compared += [(CONTROLS[group], pair) for group, found in controlled.items() for pair in found]
    if not compared:
        return
    drawn: dict[str, list[tuple[list[float], list[float]]]] = {}
    for label, pair in compared:
        of_row = drawn.setdefault(f"{label} ({pair.cubic.constant})", [])
        of_row.append((pair.ratios(), _by_relative(pair).ratios()))
    findings.figures["ratios"] = figures.ratios(drawn)
    findings.captions["ratios"] = (
        "Best against best; above 1 the cubic iteration is better. A line is a configuration: median and range over the "
        "seeds. Arrows at the edges are ratios beyond a thousand, infinite ones among them. Each error is shown at the "
        "rates that are best by it; a relative error counts only where the operator does not collapse."
    )
    rows = [
        {"comparison": label, "chosen by": chosen.figure} | _row(chosen)
        for label, pair in compared
        for chosen in (pair, _by_relative(pair))
    ]
    findings.tables["controls"] = _table(rows)
    findings.captions["controls"] = (
        "Each method at its rate of lowest median error, absolute, or relative with collapses counted as infinite."
    )


def _table(rows: Sequence[dict[str, Any]]) -> DataFrame:
    """Without columns that hold nothing, as the distance to a manifold where there is none."""
    return DataFrame(rows).dropna(axis="columns", how="all")


def _by_relative(pair: Pair) -> Pair:
    return Pair(pair.gradient, pair.cubic, "projecting", pair.among)


def _row(pair: Pair) -> dict[str, Any]:
    ratios = pair.ratios()
    row: dict[str, Any] = {"configuration": pair.cubic.configuration, "constant": pair.cubic.constant}
    for arm in (pair.gradient, pair.cubic):
        rate = arm.best(pair.figure, pair.among)
        row[f"{arm.method}: rate"] = math.nan if rate is None else rate
        for figure in ("absolute", "relative", "rank", "distance"):
            row[f"{arm.method}: {figure}"] = math.nan if rate is None else arm.median(figure, rate)
        row[f"{arm.method}: verdicts"] = "no rate without divergence" if rate is None else arm.verdicts(rate)
    row |= {"ratio": median(ratios) if ratios else math.nan}
    row |= {"ratio min": min(ratios, default=math.nan), "ratio max": max(ratios, default=math.nan)}
    return row


# -- claims ---------------------------------------------------------------------------------------------------------------


def _claims_of_the_poster(tried: Sequence[Pair], controlled: dict[str, list[Pair]]) -> Iterable[Claim]:
    """Best against best, for each of the poster's configurations and for the headline."""
    compared = [pair for pair in tried if not math.isnan(pair.ratio)]
    if not compared:
        return
    largest = max(compared, key=lambda pair: pair.ratio)
    near = {poster.name: pair for poster, pair in nearest(compared)}
    control = _summary_of_controls(controlled)
    for poster in POSTER:
        reached = [pair for pair in compared if pair.ratio >= poster.ratio]
        ours = f"largest of {len(compared)} comparisons: {_told(largest)}"
        if poster.name in near:
            ours += f"; in what comes nearest to the poster's errors: {_told(near[poster.name])}"
        yield Claim(
            claim=f"Best against best, the cubic iteration leaves an error {poster.ratio:.2g} times lower "
            f"(configuration {poster.name}).",
            paper=f"{poster.ratio:.2g}x: {min(poster.gradient.values()):.1e} against {min(poster.cubic.values()):.1e}",
            ours=ours,
            controlled=control,
            conclusion=_reached(reached, len(compared)),
            holds=bool(reached),
        )
    ratios = [pair.ratio for found in controlled.values() for pair in found if not math.isnan(pair.ratio)]
    above = sum(ratio > HEADLINE for ratio in ratios)
    yield Claim(
        claim="More than ten times lower idempotence error than the canonical gradient.",
        paper=f"more than {HEADLINE:g}x",
        ours=f"{sum(pair.ratio > HEADLINE for pair in compared)} of {len(compared)} comparisons at the paper's rates, "
        f"{_kinds(compared)}",
        controlled=f"{above} of {len(ratios)} comparisons; {control}" if ratios else "",
        conclusion=(
            "Without controls nothing can be concluded."
            if not ratios
            else "It survives the controls in most comparisons."
            if 2 * above > len(ratios)
            else "It does not survive the controls in most comparisons."
        ),
        holds=2 * above > len(ratios) if ratios else None,
    )


def _claims_under_controls(protocol: Sequence[Pair], controlled: dict[str, list[Pair]]) -> Iterable[Claim]:
    if protocol:
        yield _tuned(protocol, controlled.get("control-rates", []))
        yield from _constant_decides(protocol)
    for group in ("control-normalised", "control-adam", "control-muon"):
        if compared := [pair for pair in controlled.get(group, []) if pair.ratios()]:
            yield _survives(CONTROLS[group], compared)
    if protocol:
        yield _genuine("without data term, from the default start", protocol)
    for group in ("control-residual", "control-torus", "control-torus-adam"):
        if compared := [pair for pair in controlled.get(group, []) if pair.rates]:
            yield _genuine(CONTROLS[group], compared)
            if "torus" in group:
                yield _survives(CONTROLS[group], compared, figure="relative")


def _tuned(protocol: Sequence[Pair], extended: Sequence[Pair]) -> Claim:
    """Whether the baseline had its best rate."""
    gradients = {pair.gradient.configuration: pair.gradient for pair in protocol}
    best = {c: arm.best(among=RATES) for c, arm in gradients.items()}
    at_edge = [c for c, rate in best.items() if rate == max(r for r in gradients[c].rates if r in RATES)]
    gains = []
    for arm in {pair.gradient.configuration: pair.gradient for pair in extended}.values():
        rate, wider = best.get(arm.configuration), arm.best()
        if rate is not None and wider is not None and arm.median("absolute", wider) > 0:
            gains.append(arm.median("absolute", rate) / arm.median("absolute", wider))
    return Claim(
        claim="The gradient is compared at its best learning rate.",
        paper="its error still falls at the largest rate, 1.42",
        ours=f"best at the largest of the paper's rates in {len(at_edge)} of {len(gradients)} configurations",
        controlled=f"with rates until it diverges its error falls further by {range_of(gains, 'x')}" if gains else "",
        conclusion="The baseline was not tuned." if at_edge else "The baseline was tuned.",
        holds=not at_edge,
    )


def _constant_decides(protocol: Sequence[Pair]) -> Iterable[Claim]:
    """Ratio by the constant in front of the cotangent."""
    by_constant: dict[str, list[float]] = {}
    for pair in protocol:
        if not math.isnan(pair.ratio):
            by_constant.setdefault(pair.cubic.constant, []).append(pair.ratio)
    if not {"unit", "matched"} <= set(by_constant):
        return
    unit, matched = median(by_constant["unit"]), median(by_constant["matched"])
    better = matched > 1
    yield Claim(
        claim="The gain is the rule's, not the constant's in front of its cotangent.",
        paper="the constant is not stated",
        ours="; ".join(f"{name}: {range_of(ratios, 'x')}" for name, ratios in by_constant.items())
        + " (median and range over the configurations)",
        conclusion=f"With the constant of the canonical loss the cubic iteration is {'better' if better else 'no better'} "
        f"({number(matched)}x); with the cotangent itself it is {number(unit)}x.",
        holds=better and matched >= unit / 2,
    )


def _survives(condition: str, compared: Sequence[Pair], figure: str = "absolute") -> Claim:
    """Whether the cubic iteration is better on all seeds under a condition."""
    chosen = [pair if figure == "absolute" else _by_relative(pair) for pair in compared]
    told = [(pair, ratios) for pair in chosen if (ratios := pair.ratios())]
    wins = sum(min(ratios) > 1 for _, ratios in told)
    losses = sum(max(ratios) < 1 for _, ratios in told)
    return Claim(
        claim=f"The cubic iteration leaves a lower {figure} error: {condition}.",
        paper="not tried",
        ours="; ".join(f"{_name(pair)}: {range_of(ratios, 'x')}" for pair, ratios in told) or "both always collapse",
        controlled=f"relative errors: {_relative_errors(chosen)}",
        conclusion=f"Better on every seed in {wins} of {len(told)} comparisons, worse on every seed in {losses}."
        + (" What has collapsed counts as worse than what has not." if figure == "relative" else ""),
        holds=None if not told else True if wins == len(told) else False if wins == 0 else None,
    )


def _genuine(condition: str, compared: Sequence[Pair]) -> Claim:
    """What the best operators of both methods are."""

    def verdicts(arm: Callable[[Pair], Arm]) -> tuple[Counter[str], list[float]]:
        best: dict[tuple[str, str], list[Outcome]] = {}
        for pair in compared:
            one = arm(pair)
            rate = one.best(among=pair.among)
            if rate is not None:
                best[one.configuration, one.constant] = one.at(rate)
        outcomes = [o for found in best.values() for o in found if not o.failed]
        return Counter(o.verdict for o in outcomes), [o.relative for o in outcomes if math.isfinite(o.relative)]

    told, counts = [], Counter[str]()
    for method, arm in (("gradient", lambda p: p.gradient), ("cubic", lambda p: p.cubic)):
        found, relative = verdicts(arm)
        counts += found
        listed = ", ".join(f"{count} {verdict}" for verdict, count in found.most_common())
        told.append(f"{method}: {listed}; relative error {range_of(relative)}")
    total = sum(counts.values())
    most, number_of = counts.most_common(1)[0] if counts else ("", 0)
    return Claim(
        claim=f"At the rate of its lowest absolute error the network projects: {condition}.",
        paper="absolute errors only",
        ours=". ".join(told),
        conclusion=f"{counts['genuine']} of {total} operators are genuine; most are: {most} ({number_of})."
        if total
        else "No operator was left.",
        holds=counts["genuine"] == total if total and counts["genuine"] in (0, total) else None,
    )


def _told(pair: Pair) -> str:
    return f"{range_of(pair.ratios(), 'x')} in {_name(pair)}, {_relative_errors([pair])}"


def _name(pair: Pair) -> str:
    return f"{pair.cubic.configuration} [{pair.cubic.constant}]"


def _relative_errors(compared: Sequence[Pair]) -> str:
    """Relative errors and verdicts where the ratios were taken."""
    parts = []
    for method, index in (("gradient", 0), ("cubic", 1)):
        outcomes = [
            o
            for pair in compared
            if pair.rates is not None
            for o in (pair.gradient, pair.cubic)[index].at(pair.rates[index])
            if not o.failed
        ]
        verdicts = Counter(o.verdict for o in outcomes)
        relative = [o.relative for o in outcomes if math.isfinite(o.relative)]
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        parts.append(f"{method} {range_of(relative)}, {told}")
    return "; ".join(parts)


def _kinds(compared: Sequence[Pair]) -> str:
    above = Counter(pair.cubic.constant for pair in compared if pair.ratio > HEADLINE)
    return "by constant: " + (", ".join(f"{count} {name}" for name, count in above.most_common()) or "none")


def _summary_of_controls(controlled: dict[str, list[Pair]]) -> str:
    parts = []
    for group, found in controlled.items():
        ratios = [pair.ratio for pair in found if not math.isnan(pair.ratio)]
        if ratios:
            parts.append(f"{CONTROLS[group]}: {range_of(ratios, 'x')}")
    return "; ".join(parts)


def _reached(reached: Sequence[Pair], total: int) -> str:
    if not reached:
        return f"None of {total} comparisons at the paper's rates reaches it."
    constants = ", ".join(sorted({pair.cubic.constant for pair in reached}))
    return f"Reached in {len(reached)} of {total} comparisons at the paper's rates, with these constants: {constants}."


def _text(material: Material, arms: Sequence[Arm]) -> str:
    """What was run, and what became of it."""
    trials = [trial for one in material.results.values() for trial in one.trials]
    diverged = sum("not finite" in trial.error for trial in trials if trial.state != "complete")
    other = sum(trial.state != "complete" for trial in trials) - diverged
    lines = [
        f"{len(trials)} trials in {len(material.results)} sweeps: {len(trials) - diverged - other} complete, {diverged} "
        f"diverged (the loss was not finite), {other} without a result for other reasons.",
        "Operators of width x depth (hidden layers) see fresh Gaussian noise at every step. Where nothing else is said, d "
        "= 16, ReLU, no data term, batch 64, one batch an epoch. The absolute error is the mean of |f(f(x)) - f(x)| over "
        "512 fresh noises and all entries. The canonical loss is a mean over the entries. The constant in front of the "
        "cubic cotangent g is 1 (*unit*), 8 (*8 unit*), 1/n (*mean*) or 2/n as in the loss (*matched*), n being the "
        "number of entries. Each is averaged over the batch; *sum* is the sum over it, as `y.backward(g)` gives it.",
        "A diverged seed counts as an infinite error when a best rate is chosen, and more than half of the seeds must "
        "stay finite. Ratios are taken over seeds at which both methods stay finite. An error of exactly 0, of a map "
        "that is constant in single precision, makes a ratio infinite.",
    ]
    if any(arm.group == "control-normalised" for arm in arms):
        lines.append(
            "Matched gradient norm: every gradient is cut to the norm 1e-6, which it practically always exceeds. So both "
            "methods take steps of one length, lr x 1e-6, in their own directions. The length falls to zero along a "
            "cosine, as with Adam and Muon, which do not depend on scale either."
        )
    return "\n\n".join(lines)
