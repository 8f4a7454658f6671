"""The claims of the study on generation, checked against the variants."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from idemlab import Claim

from .generation_variants import (
    ADVERSARIAL,
    CHANGE,
    CHANGED,
    CLASSES,
    FRECHET,
    KEPT,
    NEARER,
    PUBLISHED,
    READABLE,
    RELATIVE,
    REPAIRED,
    SHARE_OF_IGN,
    SHARE_READABLE,
    SPREAD,
    Variant,
    best_of,
    best_of_ign,
    told,
)

__all__ = ["claims_of"]


def claims_of(variants: list[Variant]) -> list[Claim]:
    """The claims of the first round. Those of the second round are in `generation_asked`."""
    best = best_of(variants)
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
                ours=f"classes {told(variant.values(CLASSES), '.0f')}; readable {told(variant.values(READABLE))}; "
                f"standard deviation over z {told(variant.values(SPREAD))}; verdict {_verdicts(variant)}",
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
        ours=f"{best.label}: classes {told(best.values(CLASSES), '.0f')}, smallest "
        f"{told(best.values('noise/smallest_class'), '.2%')}, readable {told(best.values(READABLE))} "
        f"(test digits: {told(best.values('noise/readable_of_test'))})",
        conclusion=_reached(reached),
        holds=reached,
    )


def _distance(best: Variant, variants: Iterable[Variant]) -> Claim | None:
    ours, of_ign = best.middle(FRECHET), best_of_ign(variants)
    if ours is None or of_ign is None:
        return None
    return Claim(
        claim=f"The best variant has at most {SHARE_OF_IGN:.0%} of the Fréchet distance of IGN at its best rate.",
        ours=f"{best.label}: {told(best.values(FRECHET), '.3g')}; IGN: {of_ign:.3g}; ratio {ours / of_ign:.3f}",
        conclusion=_reached(ours <= SHARE_OF_IGN * of_ign),
        holds=ours <= SHARE_OF_IGN * of_ign,
    )


def _stillness(best: Variant) -> Claim:
    change = best.middle(CHANGED)
    reached = None if change is None else change < CHANGE
    return Claim(
        claim=f"Applying the best variant twice more changes generated images by less than {CHANGE:.0%} of their spread.",
        ours=f"{best.label}: f to f³ {told(best.values(CHANGED), '.3f')}; relative error at f "
        f"{told(best.values(RELATIVE), '.3f')}, at digits {told(best.values(KEPT), '.3f')}, at corrupted digits "
        f"{told(best.values(REPAIRED), '.3f')}; rank {told(best.values('noise/rank'), '.0f')}; "
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
        ours=f"{best.label}: distance {told(near)}, of test digits {told(test)}; ratio {told(ratios)}",
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
        ours=f"relative error at f: cubic {told(cubic.values(RELATIVE), '.3f')}, penalty "
        f"{told(relative.values(RELATIVE), '.3f')}; standard deviation over z: {told(cubic.values(SPREAD))}, "
        f"{told(relative.values(SPREAD))}; verdicts {_verdicts(cubic)}; {_verdicts(relative)}",
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
            f"{name} {', '.join(told(variant.values(figure), form) for variant in compared)}"
            for name, (figure, form) in figures.items()
        ),
        conclusion=f"With the penalty the Fréchet distance is {ours / other:.2f} times what it is without.",
        holds=ours <= other,
    )


def _verdicts(variant: Variant) -> str:
    counts = {trial.verdict: 0 for trial in variant.trials}
    for trial in variant.trials:
        counts[trial.verdict] += 1
    return ", ".join(verdict if len(variant.trials) == 1 else f"{count} {verdict}" for verdict, count in counts.items())


def _reached(reached: bool | None) -> str:
    return "Not measured." if reached is None else "Reached." if reached else "Not reached."
