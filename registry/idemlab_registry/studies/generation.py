"""Generation on MNIST: the variants of the paper and of IGN beside noise matched to data, at equal counted FLOPs; and the
best of both sides for longer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study, Trial, Verdict
from idemlab.reports.style import BLUE, DPI, GREEN, ORANGE, VERMILLION, legend_above, logarithmic, plain, point_style

from .gallery import Block, gallery
from .orbit_panel import orbit_panel
from .trained import Trained

__all__ = ["examine", "study"]

VARIANTS = {
    "control": "reconstruction alone (control)",
    "cubic": "(a) cubic alone",
    "ign": "(b) IGN as published",
    "ign-faster": "(b) IGN, five times the rate",
    "ign-cubic": "(c) IGN, cubic cotangent",
    "hybrid": "(d) cubic + loss + tightness",
    "imle-cubic": "(d) IMLE + cubic",
    "imle": "(e) IMLE + relative",
    "transport": "(e) one to one, repairing",
    "transport-debiased": "(e) one to one, debiased",
    "transport-free": "(e) one to one, debiased, free",
    "ign-long": "(b) IGN, five times the rate, long",
    "transport-long": "(e) one to one, debiased, long",
    "transport-clean": "(e) one to one, no repair",
    "transport-clean-long": "(e) one to one, no repair, long",
    "ign-fourier": "(b) IGN, Fourier noise",
    "transport-fourier": "(e) one to one, Fourier noise",
}
"""Name of the sweep -> what a reader calls it, in the order of the figures."""
ADVERSARIAL = ("cubic", "ign", "ign-faster", "ign-long", "ign-cubic", "hybrid", "ign-fourier")
"""Without noise matched to data."""
MATCHED = tuple(name for name in VARIANTS if name.startswith(("imle", "transport")))
"""With it."""
PUBLISHED = ("ign", "ign-faster", "ign-long", "ign-fourier")
"""IGN itself: what the best variant is compared with."""

BUDGETS_AGREE = 1.01
"""Budgets are whole numbers of steps: how far equal ones may differ."""
SHARE_OF_IGN, SHARE_READABLE, CHANGE, NEARER = 0.25, 0.85, 0.03, 0.10
"""What was asked for: Fréchet distance of the best over IGN's, share readable, relative change from f to f^3, and by how
much generated images may be nearer to the training images than test images are."""

TABLES = {
    "quality": {
        "Fréchet f": "noise/frechet_cnn_1",
        "f²": "noise/frechet_cnn_2",
        "f³": "noise/frechet_cnn_3",
        "test digits": "noise/frechet_cnn_of_test",
        "classes f": "noise/classes",
        "classes f³": "noise/classes_3",
        "smallest class": "noise/smallest_class",
        "entropy": "noise/class_entropy",
        "readable f": "noise/readable",
        "readable f³": "noise/readable_3",
        "of test digits": "noise/readable_of_test",
        "diversity": "noise/diversity_cnn",
        "diversity in pixels": "noise/diversity_pixels",
    },
    "overlap": {
        f"{figure} {power}": f"noise/{figure}_cnn_{k}"
        for figure in ("precision", "recall", "coverage")
        for k, power in (("1", "f"), ("2", "f²"), ("3", "f³"), ("of_test", "test digits"))
    },
    "idempotence": {
        "relative error": "noise/relative",
        "absolute error": "noise/absolute",
        "f to f³": "noise/drift_3",
        "rank": "noise/rank",
        "standard deviation": "noise/spread",
        "at digits": "data/relative",
        "at corrupted digits": "corrupted/relative",
        "reconstruction error": "data/reconstruction_error",
        "restoration error": "corrupted/restoration_error",
        "nearest training": "noise/nearest_training",
        "of test digits": "noise/nearest_training_of_test",
    },
}
"""Name of the table -> heading of a column -> figure of the runs."""
_CAPTIONS = {
    "quality": "Generated images at fresh noise: Fréchet distance to the training images in the features of a classifier, "
    "classes with at least 5 % of the images (readable ones), the share of the rarest, entropy of the classes over log 10, "
    "share that the classifier is more than 90 % sure of, mean distance of two images over that of two test digits.",
    "overlap": "Precision, recall and coverage in the features of the classifier, against as many training images.",
    "idempotence": "Errors at fresh noise (relative to the spread), with rank and verdict; at digits and corrupted digits; "
    "what it does to data; Euclidean distance to the nearest training image.",
}
FRECHET, CHANGED = "noise/frechet_cnn_1", "noise/drift_3"
RELATIVE, KEPT, REPAIRED = "noise/relative", "data/relative", "corrupted/relative"
MOVES = 0.1
"""Relative error above which nothing projects; a verdict goes by the same."""
CLASSES, READABLE, SPREAD = "noise/classes", "noise/readable", "noise/spread"
_READABLE = {1: READABLE, 3: "noise/readable_3"}
_MARKS = {1: ("f", BLUE, "o"), 2: ("f²", VERMILLION, "s"), 3: ("f³", GREEN, "^")}
_COLUMNS = 10


def study() -> Study:
    """The study, with the sweeps of generation.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """Rows of images for each variant, their figures side by side, and the claims."""
    variants = _variants(material)
    if not variants:
        return Findings(text="No trial of any variant was completed: there is nothing to examine.")
    findings = Findings(text=_text(material, variants))
    for variant in variants:
        run = variant.trials[0].run
        findings.figures[f"orbits-{variant.name}"] = None
        if run.weights_file.is_file():
            material.say(f"pictures of {variant.label}")
            findings.figures[f"orbits-{variant.name}"] = orbit_panel(Trained.of(run))
        findings.captions[f"orbits-{variant.name}"] = (
            f"{variant.label}, seed {variant.trials[0].seed}: evenly spaced test images and the first noises."
        )
    there = [variant for variant in variants if variant.trials[0].run.weights_file.is_file()]
    whole = len(there) == len(variants)
    findings.figures["generated"] = _generated(variants) if whole else None
    findings.captions["generated"] = "f(z) of the variants at the same noises (those of their own source)."
    if not whole:  # a record that is resumed keeps its rows
        findings.figures["generated-further"] = _generated(there) if there else None
        findings.captions["generated-further"] = "The same of variants that were added later."
    findings.figures["figures"] = _dots(variants)
    findings.captions["figures"] = (
        "Quality and idempotence at fresh noise; a point is one seed. Dashed: what was asked for."
    )
    matched = [variant for variant in variants if variant.name in MATCHED]
    if len(matched) > 1:
        findings.figures["price"] = _price_drawn(matched)
        findings.captions["price"] = (
            "What stillness costs where noise is matched to data; a point is one seed. Dashed: what was asked for, to be "
            "left of and above. Below 1 generated digits are nearer to the training images than test digits are."
        )
    for name, columns in TABLES.items():
        findings.tables[name] = DataFrame([row for variant in variants for row in variant.rows(columns)])
        findings.captions[name] = _CAPTIONS[name]
    findings.claims = _claims(variants)
    return findings


# -- what was measured --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One variant.

    Args:
        name: of the sweep.
        trials: complete ones, by seed.
    """

    name: str
    trials: tuple[Trial, ...]

    @property
    def label(self) -> str:
        """What a reader calls it."""
        return VARIANTS[self.name]

    @property
    def budget(self) -> float:
        """The largest number of counted FLOPs that a trial had."""
        return max(trial.flops or 0.0 for trial in self.trials)

    def values(self, figure: str) -> list[float]:
        """A figure of each trial that has it."""
        values = [trial.figures.get(figure) for trial in self.trials]
        return [value for value in values if value is not None and math.isfinite(value)]

    def middle(self, figure: str) -> float | None:
        """Median over the trials, or None."""
        values = self.values(figure)
        return median(values) if values else None

    @property
    def projects(self) -> bool:
        """Whether f projects at noise and at digits, in every trial.

        The verdict of a trial is that of its worst inputs. Corrupted digits are among them; to repair is not asked here.
        """
        whole = {Verdict.CONSTANT, Verdict.IDENTITY}.isdisjoint(trial.verdict for trial in self.trials)
        return whole and all(value <= MOVES for name in (RELATIVE, KEPT) for value in self.values(name))

    @property
    def nearness(self) -> list[float]:
        """Distance to the nearest training image over that of test images, of each trial; or nothing."""
        near, test = self.values("noise/nearest_training"), self.values("noise/nearest_training_of_test")
        return [a / b for a, b in zip(near, test, strict=True)] if len(near) == len(test) else []

    def rows(self, columns: Mapping[str, str]) -> list[dict[str, object]]:
        """A row for each trial."""
        return [
            {
                "variant": self.label,
                "seed": trial.seed,
                "verdict": trial.verdict,
                "steps": trial.steps,
                "FLOPs": trial.flops,
            }
            | {column: trial.figures.get(figure) for column, figure in columns.items()}
            for trial in self.trials
        ]


def _variants(material: Material) -> list[Variant]:
    """The variants with a complete trial, in the order of `VARIANTS`."""
    complete = {
        name: tuple(trial for trial in material.results[name].trials if trial.state == "complete")
        for name in VARIANTS
        if name in material.results
    }
    return [Variant(name, trials) for name, trials in complete.items() if trials]


# -- pictures -----------------------------------------------------------------------------------------------------------


def _generated(variants: Iterable[Variant]) -> Figure:
    """One row of f(z) for each variant."""
    rows = {}
    for variant in variants:
        trained = Trained.of(variant.trials[0].run)
        rows[variant.label] = trained.apply(trained.noise(trained.test(2 * _COLUMNS)))
    return gallery([[Block("f(z)", rows)]], trained.dataset.range, labels=330)


def _dots(variants: list[Variant]) -> Figure:
    """Fréchet distance at f, f^2, f^3, share readable with the number of classes, and the change from f to f^3."""
    figure = Figure(figsize=(10, 0.42 * len(variants) + 1.6), dpi=DPI, layout="constrained")
    quality, readable, change = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.3, 1))
    for row, variant in enumerate(variants):
        for k, (_, colour, marker) in _MARKS.items():
            style = {"ls": "", "marker": marker, "color": colour, "ms": 5}
            for axes, measured in ((quality, f"noise/frechet_cnn_{k}"), (readable, _READABLE.get(k, ""))):
                values = variant.values(measured)
                axes.plot(values, [row + 0.22 * (k - 2)] * len(values), **style)
        values = variant.values(CHANGED)
        change.plot(values, [row] * len(values), ls="", marker="D", color=ORANGE, ms=5)
        classes = variant.middle(CLASSES)
        if classes is not None:
            text = f"{classes:g} of 10"
            readable.annotate(text, (1.04, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    quality.set_yticks(range(len(variants)), [variant.label for variant in variants])
    quality.invert_yaxis()
    quality.set_xlabel("Fréchet distance\n(log scale)")
    readable.set_xlabel("share readable; classes covered")
    readable.set_xlim(-0.04, 1.04)
    change.set_xlabel("relative change\nfrom f to f³ (log scale)")
    of_ign = _best_of_ign(variants)
    if of_ign is not None:
        quality.axvline(SHARE_OF_IGN * of_ign, color="black", ls="--", lw=1)
    readable.axvline(SHARE_READABLE, color="black", ls="--", lw=1)
    change.axvline(CHANGE, color="black", ls="--", lw=1)
    for axes in (quality, change):
        logarithmic(axes.xaxis)
    for axes in (quality, readable, change):
        plain(axes)
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, label=label) for label, colour, marker in _MARKS.values()
    ]
    handles.append(
        Line2D([], [], color="black", ls="--", lw=1, label="asked for: left of it, or right of it for the share")
    )
    legend_above(figure, handles)
    return figure


def _price_drawn(variants: list[Variant]) -> Figure:
    """Fréchet distance, recall and nearness to the training images against the change from f to f^3."""
    figure = Figure(figsize=(10, 3.2 + 0.1 * len(variants)), dpi=DPI, layout="constrained")
    quality, recall, memory = panels = figure.subplots(1, 3)
    handles = []
    for i, variant in enumerate(variants):
        style = point_style(i)
        handles.append(Line2D([], [], label=variant.label, **style))
        for axes, values in (
            (quality, variant.values(FRECHET)),
            (recall, variant.values("noise/recall_cnn_1")),
            (memory, variant.nearness),
        ):
            changes = variant.values(CHANGED)
            if len(values) == len(changes):
                axes.plot(changes, values, **style)
    quality.set_ylabel("Fréchet distance at f (log scale)")
    recall.set_ylabel("recall at f")
    memory.set_ylabel("distance to training images,\nover that of test digits")
    memory.axhline(1 - NEARER, color="black", ls="--", lw=1)
    logarithmic(quality.yaxis)
    for axes in panels:
        axes.set_xlabel("relative change from f to f³\n(log scale)")
        logarithmic(axes.xaxis)
        axes.axvline(CHANGE, color="black", ls="--", lw=1)
        plain(axes)
    legend_above(figure, handles)
    return figure


# -- claims -------------------------------------------------------------------------------------------------------------


def _best_of_ign(variants: Iterable[Variant]) -> float | None:
    """The smallest median Fréchet distance at f of the published method: the others are held against its best."""
    values = [variant.middle(FRECHET) for variant in variants if variant.name in PUBLISHED]
    return min((value for value in values if value is not None), default=None)


def _best(variants: Iterable[Variant]) -> Variant:
    """The variant with the smallest Fréchet distance; without any, that with the most classes, then readable. What does not
    project at noise and digits, or had a longer budget than the published method, does not count."""
    variants = list(variants)
    budgets = [variant.budget for variant in variants if variant.name in PUBLISHED]
    variants = [variant for variant in variants if variant.projects] or variants
    allowed = max(budgets, default=math.inf)
    variants = [variant for variant in variants if variant.budget <= BUDGETS_AGREE * allowed] or variants

    def rank(variant: Variant) -> tuple[float, float, float]:
        frechet, classes, readable = (variant.middle(name) for name in (FRECHET, CLASSES, READABLE))
        return (math.inf if frechet is None else frechet, -(classes or 0), -(readable or 0))

    return min(variants, key=rank)


def _claims(variants: list[Variant]) -> list[Claim]:
    best = _best(variants)
    claims = [*_collapse(variants), _coverage(best), _distance(best, variants), _stillness(best), _memory(best)]
    return [claim for claim in [*claims, _rescue(variants), _price(variants)] if claim is not None]


def _collapse(variants: Iterable[Variant]) -> list[Claim]:
    """For each variant of the papers: whether it generates."""
    claims = []
    for variant in variants:
        if variant.name not in ADVERSARIAL:
            continue
        classes = variant.middle(CLASSES)
        claims.append(
            Claim(
                claim=f"{variant.label} generates digits of all classes from noise.",
                paper="rows of digits shown; no figures given" if variant.name in ("cubic", *PUBLISHED) else "",
                ours=f"classes {_told(variant.values(CLASSES), '.0f')}; readable {_told(variant.values(READABLE))}; "
                f"standard deviation over z {_told(variant.values(SPREAD))}; verdict {_verdicts(variant)}",
                conclusion="Not measured."
                if classes is None
                else "It covers all classes."
                if classes >= 10
                else f"It covers {classes:g} of ten classes within this budget.",
                holds=None if classes is None else classes >= 10,
            )
        )
    return claims


def _coverage(best: Variant) -> Claim:
    classes, readable = best.middle(CLASSES), best.middle(READABLE)
    reached = None if classes is None or readable is None else classes >= 10 and readable >= SHARE_READABLE
    return Claim(
        claim=f"The best variant covers ten classes, each with 5 % of the samples; {SHARE_READABLE:.0%} are readable.",
        ours=f"{best.label}: classes {_told(best.values(CLASSES), '.0f')}, smallest "
        f"{_told(best.values('noise/smallest_class'), '.2%')}, readable {_told(best.values(READABLE))} "
        f"(test digits: {_told(best.values('noise/readable_of_test'))})",
        conclusion=_reached(reached),
        holds=reached,
    )


def _distance(best: Variant, variants: Iterable[Variant]) -> Claim | None:
    ours, of_ign = best.middle(FRECHET), _best_of_ign(variants)
    if ours is None or of_ign is None:
        return None
    return Claim(
        claim=f"The best variant has at most {SHARE_OF_IGN:.0%} of the Fréchet distance of IGN at its best rate.",
        ours=f"{best.label}: {_told(best.values(FRECHET), '.3g')}; IGN: {of_ign:.3g}; ratio {ours / of_ign:.3f}",
        conclusion=_reached(ours <= SHARE_OF_IGN * of_ign),
        holds=ours <= SHARE_OF_IGN * of_ign,
    )


def _stillness(best: Variant) -> Claim:
    change = best.middle(CHANGED)
    reached = None if change is None else change < CHANGE
    return Claim(
        claim=f"Applying the best variant twice more changes generated images by less than {CHANGE:.0%} of their spread.",
        ours=f"{best.label}: f to f³ {_told(best.values(CHANGED), '.3f')}; relative error at f "
        f"{_told(best.values(RELATIVE), '.3f')}, at digits {_told(best.values(KEPT), '.3f')}, at corrupted digits "
        f"{_told(best.values(REPAIRED), '.3f')}; rank {_told(best.values('noise/rank'), '.0f')}; "
        f"verdict, that of its worst inputs, {_verdicts(best)}",
        conclusion=_reached(reached),
        holds=reached,
    )


def _memory(best: Variant) -> Claim | None:
    near, test = best.values("noise/nearest_training"), best.values("noise/nearest_training_of_test")
    ratios = best.nearness
    if not ratios:
        return None
    reached = median(ratios) >= 1 - NEARER
    return Claim(
        claim=f"Generated digits are no nearer to the training images than test digits are, within {NEARER:.0%}.",
        ours=f"{best.label}: distance {_told(near)}, of test digits {_told(test)}; ratio {_told(ratios)}",
        conclusion=_reached(reached),
        holds=reached,
    )


def _rescue(variants: Iterable[Variant]) -> Claim | None:
    """Cubic against the relative penalty where the source keeps the outputs apart: what the enforcer alone decides."""
    named = {variant.name: variant for variant in variants}
    cubic, relative = named.get("imle-cubic"), named.get("imle")
    if cubic is None or relative is None:
        return None
    ours, other = cubic.middle(RELATIVE), relative.middle(RELATIVE)
    if ours is None or other is None:
        return None
    better = ours < other
    return Claim(
        claim="With noise matched to data, the cubic iteration leaves less error than the relative error as a penalty.",
        ours=f"relative error at f: cubic {_told(cubic.values(RELATIVE), '.3f')}, penalty "
        f"{_told(relative.values(RELATIVE), '.3f')}; standard deviation over z: {_told(cubic.values(SPREAD))}, "
        f"{_told(relative.values(SPREAD))}; verdicts {_verdicts(cubic)}; {_verdicts(relative)}",
        conclusion=f"The {'cubic iteration' if better else 'penalty'} leaves {max(ours, other) / min(ours, other):.1f} "
        "times less error, on the same network, source and budget.",
        holds=better,
    )


def _price(variants: Iterable[Variant]) -> Claim | None:
    """What the penalty costs in generation: the same source, network and budget, with less of it or nothing enforced."""
    named = {variant.name: variant for variant in variants}
    enforced, free = named.get("transport-debiased"), named.get("transport-free")
    if enforced is None or free is None:
        return None
    ours, other = enforced.middle(FRECHET), free.middle(FRECHET)
    if ours is None or other is None:
        return None
    compared = [enforced, free]
    figures = {
        "Fréchet distance": (FRECHET, ".3g"),
        "relative error at f": (RELATIVE, ".3f"),
        "f to f³": (CHANGED, ".3f"),
        "recall": ("noise/recall_cnn_1", ".2f"),
        "distance to the training images": ("noise/nearest_training", ".2f"),
    }
    return Claim(
        claim="Being idempotent costs nothing in generation.",
        ours=f"{', '.join(variant.label for variant in compared)}: "
        + "; ".join(
            f"{name} {', '.join(_told(variant.values(figure), form) for variant in compared)}"
            for name, (figure, form) in figures.items()
        ),
        conclusion=f"With the penalty the Fréchet distance is {ours / other:.2f} times what it is without.",
        holds=ours <= other,
    )


def _told(values: list[float], form: str = ".2f") -> str:
    """Median and range over seeds."""
    if not values:
        return "not measured"
    middle = f"{median(values):{form}}"
    return (
        middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}}, {len(values)} seeds)"
    )


def _verdicts(variant: Variant) -> str:
    counts = {trial.verdict: 0 for trial in variant.trials}
    for trial in variant.trials:
        counts[trial.verdict] += 1
    return ", ".join(verdict if len(variant.trials) == 1 else f"{count} {verdict}" for verdict, count in counts.items())


def _reached(reached: bool | None) -> str:
    return "Not measured." if reached is None else "Reached." if reached else "Not reached."


def _text(material: Material, variants: list[Variant]) -> str:
    trials = [trial for results in material.results.values() for trial in results.trials]
    failed = [f"{trial.error}" for trial in trials if trial.state != "complete"]
    seeds = sorted({len(variant.trials) for variant in variants})
    budgets = sorted({f"{trial.flops:.2g}" for variant in variants for trial in variant.trials if trial.flops})
    text = (
        f"{len(variants)} variants on one network, {' or '.join(budgets)} counted FLOPs each, "
        f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}: with one seed a figure has no spread, and "
        "nothing is claimed of differences that one might make."
    )
    if material.quick:
        text += " This is the small version: few images, some hundred steps. It shows that everything works, no more."
    if failed:
        text += f"\n\n{len(failed)} of {len(trials)} trials were not completed: " + "; ".join(failed)
    return text
