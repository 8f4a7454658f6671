"""Goals of the second round of generation: claims for soft couplings, constructions, and IGN at its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from idemlab import Claim, Verdict

from .generation_curves import Curve
from .generation_variants import (
    AT_ITS_BUDGET,
    BUDGETS_AGREE,
    CHANGED,
    CLASSES,
    CONDITIONAL,
    CONSTRUCTED,
    FAR,
    FRECHET,
    FREE,
    LABELLED,
    LATER,
    OF_CLASS,
    READABLE,
    RECALL,
    RELATIVE,
    SMALLEST,
    TWINS,
    WORST_CLASS,
    Variant,
    told,
)

__all__ = ["ASKED", "asked_claims", "reached_by"]

COSTS = 1.3
"""Largest Fréchet distance, over that of the same network at the same budget with nothing enforced."""
FULFILLED = 0.98
"""Smallest share of images that are of the class asked for."""


@dataclass(frozen=True)
class Asked:
    """One goal.

    Args:
        claim: as a sentence about the best variant.
        figures: metric -> format; all that the claim is about, the deciding ones first.
        holds: from the medians of the figures, in their order.
    """

    claim: str
    figures: dict[str, str]
    holds: Callable[..., bool]

    def of(self, variant: Variant) -> bool | None:
        """Whether a variant reaches it; None where a figure is missing."""
        values = [variant.middle(name) for name in self.figures]
        return None if None in values else self.holds(*values)


ASKED = {
    "classes": Asked(
        "The best variant covers ten classes, each with 6 % of the images, and 95 % are readable.",
        {CLASSES: ".0f", SMALLEST: ".2%", READABLE: ".3f"},
        lambda classes, smallest, readable: classes >= 10 and smallest >= 0.06 and readable >= 0.95,
    ),
    "distance": Asked("The best variant has a Fréchet distance of at most 12.", {FRECHET: ".3g"}, lambda d: d <= 12),
    "recall": Asked(
        "The best variant recalls at least 0.6 of the digits.", {RECALL: ".3f"}, lambda recall: recall >= 0.6
    ),
    "error": Asked(
        "The relative error of the best variant at noise is at most 0.01.",
        {RELATIVE: ".2g"},
        lambda error: error <= 0.01,
    ),
    "drift": Asked(
        "The best variant drifts by less than 0.01 from f to f³, and less than 0.02 from f to f⁵⁰.",
        {CHANGED: ".2g", FAR: ".2g"},
        lambda near, far: near < 0.01 and far < 0.02,
    ),
}
"""What one variant must reach by its own figures."""


def reached_by(variant: Variant) -> list[str]:
    """The names of all that a variant reaches."""
    return [name for name, asked in ASKED.items() if asked.of(variant)]


def asked_claims(variants: list[Variant], curves: list[Curve]) -> list[Claim]:
    """The claims, if there is a variant that they are about."""
    named = {variant.name: variant for variant in variants}
    ours = [
        v
        for v in variants
        if v.name in LATER and v.name not in (*AT_ITS_BUDGET, *CONDITIONAL, *FREE) and v.middle(FRECHET) is not None
    ]
    claims: list[Claim | None] = []
    if ours:
        best = _best(ours)
        claims += [_claim(asked, best) for asked in ASKED.values()]
        claims += [
            _together(ours),
            _far_from_training(best),
            _no_copies(best),
            _constructed(ours),
        ]
    claims += [_costs(named[name], named[free]) for name, free in TWINS.items() if name in named and free in named]
    claims += [_of_the_class([named[name] for name in CONDITIONAL if name in named])]
    claims += [_chance(named[name], curves) for name in AT_ITS_BUDGET if name in named]
    return [claim for claim in claims if claim is not None]


def _best(variants: list[Variant]) -> Variant:
    """Of those that project at noise and digits, or else of all, the one that reaches most; of equal ones, one that needs no
    labels, then the nearest to data."""
    projecting = [variant for variant in variants if variant.projects] or variants
    return min(projecting, key=lambda v: (-len(reached_by(v)), v.name in LABELLED, v.middle(FRECHET) or 0.0))


def _claim(asked: Asked, best: Variant) -> Claim:
    figures = "; ".join(f"{_name(name)} {told(best.values(name), form)}" for name, form in asked.figures.items())
    return Claim(
        claim=asked.claim, ours=f"{best.label}: {figures}", conclusion=_reached(asked.of(best)), holds=asked.of(best)
    )


def _together(variants: list[Variant]) -> Claim:
    wanted = ("distance", "error", "drift")
    both = [v for v in variants if v.projects and all(ASKED[name].of(v) for name in wanted)]
    nearest = min(variants, key=lambda v: (-sum(bool(ASKED[name].of(v)) for name in wanted), v.middle(FRECHET) or 0.0))
    return Claim(
        claim="One variant reaches the Fréchet distance, the error and the drift together.",
        ours="; ".join(
            f"{v.label}: {told(v.values(FRECHET), '.3g')}, {told(v.values(RELATIVE), '.2g')}, {told(v.values(FAR), '.2g')}"
            for v in (both or [nearest])
        ),
        conclusion=f"Reached by {len(both)} of {len(variants)} variants."
        if both
        else "None does; the nearest is told.",
        holds=bool(both),
    )


def _far_from_training(best: Variant) -> Claim | None:
    if not best.nearness:
        return None
    holds = median(best.nearness) >= 0.9
    return Claim(
        claim="Generated digits are at least 0.9 times as far from the training images as test digits are.",
        ours=f"{best.label}: ratio {told(best.nearness, '.3f')}",
        conclusion=_reached(holds),
        holds=holds,
    )


def _no_copies(best: Variant) -> Claim | None:
    """Smoothness does not decide this one; MNIST's test digits are by other hands, which raises it."""
    kinds = ("pca", "hog")
    found = {kind: (best.middle(f"noise/copied_{kind}"), best.middle(f"noise/copied_{kind}_margin")) for kind in kinds}
    measured = [(share, margin) for share, margin in found.values() if share is not None and margin is not None]
    if not measured:
        return None
    holds = all(share <= margin for share, margin in measured)
    return Claim(
        claim="Generated digits are nearest to training images no more often than chance allows.",
        ours=f"{best.label}: "
        + "; ".join(
            f"copied share by {kind} {share:.3f} (by chance up to {margin:.3f})"
            for kind, (share, margin) in found.items()
            if share is not None and margin is not None
        ),
        conclusion="They are no copies by this test."
        if holds
        else "They are, more often than chance allows: some may be copies, or they resemble the handwriting of the "
        "training set.",
        holds=holds,
    )


def _costs(own: Variant, free: Variant) -> Claim | None:
    ours, other = own.middle(FRECHET), free.middle(FRECHET)
    if ours is None or not other:
        return None
    claim = (
        f"{own.label}: being idempotent costs at most {COSTS} times the Fréchet distance of the same network as an "
        "unconstrained autoencoder."
    )
    if not 1 / BUDGETS_AGREE <= own.budget / free.budget <= BUDGETS_AGREE:
        return Claim(
            claim=claim,
            ours=f"{own.label} had {own.budget:.2g} FLOPs, {free.label} {free.budget:.2g}",
            conclusion="Open: the budgets differ.",
        )
    return Claim(
        claim=claim,
        ours=f"{own.budget:.2g} FLOPs; {own.label}: {told(own.values(FRECHET), '.3g')}; {free.label}: "
        f"{told(free.values(FRECHET), '.3g')}, with a relative error of {told(free.values(RELATIVE), '.2g')}",
        conclusion=f"It costs {ours / other:.2f} times, at equal FLOPs.",
        holds=ours <= COSTS * other,
    )


def _constructed(variants: list[Variant]) -> Claim | None:
    """Whether exactness is free: the best construction against the best that is trained to be idempotent."""
    exact = [v for v in variants if v.name in CONSTRUCTED]
    trained = [v for v in variants if v.name not in CONSTRUCTED and v.projects]
    if not exact or not trained:
        return None
    first, second = (min(some, key=lambda v: v.middle(FRECHET) or 0.0) for some in (exact, trained))
    ours, other = first.middle(FRECHET), second.middle(FRECHET)
    assert ours is not None, "variants without a distance were left out"
    assert other is not None, "variants without a distance were left out"
    claim = "A construction generates as well as a trained projection, by the Fréchet distance."
    budgets = first.budget / second.budget
    equal = 1 / BUDGETS_AGREE <= budgets <= BUDGETS_AGREE
    told_budgets = "" if equal else f"; {first.budget:.2g} against {second.budget:.2g} FLOPs"
    open_ = not equal and (ours <= other) is (budgets > 1)  # the better one had more to spend
    more = "" if equal or open_ else f", with {'fewer' if budgets < 1 else 'more'} FLOPs"
    return Claim(
        claim=claim,
        ours=f"{first.label}: {told(first.values(FRECHET), '.3g')}, error {told(first.values(RELATIVE), '.2g')}; "
        f"{second.label}: {told(second.values(FRECHET), '.3g')}, error {told(second.values(RELATIVE), '.2g')}{told_budgets}",
        conclusion="Open: the budgets differ."
        if open_
        else f"Its distance is {ours / other:.2f} times that of the trained one{more}.",
        holds=None if open_ else ours <= other,
    )


def _of_the_class(variants: list[Variant]) -> Claim | None:
    """Whether the best variant meets its condition; each class has one connected image, which topology allows."""
    if not variants:
        return None
    variant = max(variants, key=lambda variant: variant.middle(OF_CLASS) or 0.0)
    share, of_test = variant.middle(OF_CLASS), variant.values("noise/asked_class_of_test")
    holds = None if share is None else share >= FULFILLED
    return Claim(
        claim=f"With the class as a condition, {FULFILLED:.0%} of the best variant's digits are of the class asked for.",
        ours=f"{variant.label}: {told(variant.values(OF_CLASS), '.3f')}; in the worst class "
        f"{told(variant.values(WORST_CLASS), '.3f')}; of test digits {told(of_test, '.3f')}; "
        f"readable {told(variant.values(READABLE), '.3f')}; "
        f"Fréchet {told(variant.values(FRECHET), '.3g')}; relative error {told(variant.values(RELATIVE), '.2g')}",
        conclusion=_reached(holds),
        holds=holds,
    )


def _chance(variant: Variant, curves: list[Curve]) -> Claim:
    """IGN and the cubic beside it, at their published batch: whether they generate, and from which budget on."""
    classes = variant.middle(CLASSES)
    since = [curve.since(10) for curve in curves if curve.variant == variant.label]
    known = [flops for flops in since if flops is not None]
    where = f" From {min(known):.2g} FLOPs on." if known else ""
    given = ", and was given the chance" if variant.name.endswith(("-long", "-longest")) else " within this budget"
    collapsed = any(trial.verdict == Verdict.CONSTANT for trial in variant.trials)
    return Claim(
        claim=f"{variant.label} generates digits of all classes from noise, with {variant.budget:.2g} FLOPs.",
        paper="rows of digits shown; no figures given",
        ours=f"classes {told(variant.values(CLASSES), '.0f')}; readable {told(variant.values(READABLE), '.2f')}; Fréchet "
        f"{told(variant.values(FRECHET), '.3g')}; f to f³ {told(variant.values(CHANGED), '.2g')}"
        + ("; constant" if collapsed else ""),
        conclusion="Not measured."
        if classes is None
        else f"It covers all classes.{where}"
        if classes >= 10
        else f"It covers {classes:g} of ten classes{given}." + (" It did once." * bool(known)),
        holds=None if classes is None else classes >= 10,
    )


def _name(metric: str) -> str:
    names = {
        CLASSES: "classes",
        SMALLEST: "smallest",
        READABLE: "readable",
        FRECHET: "Fréchet",
        RECALL: "recall",
        RELATIVE: "relative error",
        CHANGED: "f to f³",
        FAR: "f to f⁵⁰",
    }
    return names[metric]


def _reached(reached: bool | None) -> str:
    return "Not measured." if reached is None else "Reached." if reached else "Not reached."
