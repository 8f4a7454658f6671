"""The variants of the study on generation: what each reached, the goals, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from idemlab import Material, Trial, Verdict

__all__ = ["TWINS", "Variant", "at_least_rounding", "best_of", "best_of_ign", "told", "variants_of"]

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
    "soft": "(f) soft coupling",
    "soft-two": "(f) soft, two temperatures",
    "soft-code": "(f) soft, cost in the code",
    "soft-passes": "(f) soft, four passes",
    "soft-long": "(f) soft coupling, long",
    "soft-free-long": "(f) soft coupling, free, long",
    "section": "(g) section by construction",
    "section-64": "(g) section, rank 64",
    "section-32": "(g) section, rank 32",
    "section-16": "(g) section, rank 16",
    "section-8": "(g) section, rank 8",
    "section-free": "(g) network of the section, free",
    "section-long": "(g) section by construction, long",
    "section-free-long": "(g) network of the section, free, long",
    "linearizer-16": "(g) linearizer, rank 16",
    "biorthogonal-16": "(g) biorthogonal, rank 16",
    "quantised-16": "(g) rounded codes, 16 of them",
    "linearizer-long": "(g) linearizer by construction, long",
    "biorthogonal-long": "(g) biorthogonal by construction, long",
    "quantised-long": "(g) rounded codes by construction, long",
    "section-class": "(h) section, of the class asked for",
    "section-class-16": "(h) section by class, rank 16, short",
    "section-class-8": "(h) section by class, rank 8, short",
    "section-class-long": "(h) section by class, rank 8, long",
    "section-union": "(i) union of sections, labels in training",
    "section-clusters": "(i) union of sections, clusters, no labels",
    "ign-256": "(b) IGN, batch 256",
    "ign-256-batch-norm": "(b) IGN, batch 256, BatchNorm",
    "ign-256-fourier": "(b) IGN, batch 256, Fourier noise",
    "ign-256-fourier-batch-norm": "(b) IGN, batch 256, Fourier, BatchNorm",
    "ign-256-longest": "(b) IGN, batch 256, longest",
    "cubic-both-long": "(c) cubic for both terms, long",
}
"""Name of the sweep -> what a reader calls it, in the order of the figures."""
SECTIONS = ("section", "section-64", "section-32", "section-16", "section-8", "section-long")
UNIONS = ("section-union", "section-clusters")
OTHERS = ("linearizer", "biorthogonal", "quantised")
CONSTRUCTED = (*SECTIONS, *UNIONS, *(f"{name}-{kind}" for name in OTHERS for kind in ("16", "long")))
"""Idempotent by construction."""
TWINS = {"section-16": "section-free", "section-long": "section-free-long", "soft-long": "soft-free-long"}
"""Variant -> the one with nothing enforced, on the same network, for the same FLOPs."""
FREE = tuple(TWINS.values())
"""With nothing enforced: what the others are compared with."""
CONDITIONAL = tuple(name for name in VARIANTS if name.startswith("section-class"))
"""They receive the class that is asked for, and so are held against claims of their own."""
LABELLED = ("section-union", *CONDITIONAL)
"""They need labels in training."""
SOFT = tuple(name for name in VARIANTS if name.startswith("soft"))
"""From softly coupled noise, on the network of all others."""
AT_ITS_BUDGET = (*(name for name in VARIANTS if name.startswith("ign-256")), "cubic-both-long")
"""IGN and its relatives at the published batch."""
LATER = (*SOFT, *CONSTRUCTED, *FREE, *CONDITIONAL, *AT_ITS_BUDGET)
"""The second round: judged by more, and held against what `generation_asked` says."""
ADVERSARIAL = ("cubic", "ign", "ign-faster", "ign-long", "ign-cubic", "hybrid", "ign-fourier")
"""Without noise matched to data."""
MATCHED = tuple(name for name in VARIANTS if name.startswith(("imle", "transport")))
"""With it."""
PUBLISHED = ("ign", "ign-faster", "ign-long", "ign-fourier")
"""IGN itself: what the best variant is compared with."""
CURVES = tuple(name for name in LATER if name.endswith(("-long", "-longest")) or name in UNIONS)
"""Those that are drawn along their training: the long ones. Short trials have one point each, in the table `quality`."""
BUDGETS_AGREE = 1.01
"""Budgets are whole numbers of steps: how far equal ones may differ."""
SHARE_OF_IGN, SHARE_READABLE, CHANGE, NEARER = 0.25, 0.85, 0.03, 0.10
"""What was asked for: Fréchet distance of the best over IGN's, share readable, relative change from f to f^3, and by how
much generated images may be nearer to the training images than test images are."""
FRECHET, CHANGED = "noise/frechet_cnn_1", "noise/drift_3"
RELATIVE, KEPT, REPAIRED = "noise/relative", "data/relative", "corrupted/relative"
ROUNDING = 1e-7
"""Relative change that is drawn for all smaller ones."""
MOVES = 0.1
"""Relative error above which nothing projects; a verdict goes by the same."""
CLASSES, READABLE, SPREAD = "noise/classes", "noise/readable", "noise/spread"
SMALLEST, RECALL, FAR = "noise/smallest_class", "noise/recall_cnn_1", "noise/drift_50"
OF_CLASS, WORST_CLASS = "noise/asked_class", "noise/asked_class_worst"


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
        values = [trial.metrics.get(figure) for trial in self.trials]
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
            | {column: trial.metrics.get(figure) for column, figure in columns.items()}
            for trial in self.trials
        ]


def variants_of(material: Material) -> list[Variant]:
    """The variants with a complete trial, in the order of `VARIANTS`."""
    complete = {
        name: tuple(trial for trial in material.results[name].trials if trial.state == "complete")
        for name in VARIANTS
        if name in material.results
    }
    return [Variant(name, trials) for name, trials in complete.items() if trials]


def at_least_rounding(values: Iterable[float]) -> list[float]:
    """Changes as they are drawn on a logarithmic scale: those of constructions may be zero."""
    return [max(value, ROUNDING) for value in values]


def told(values: list[float], form: str = ".2f") -> str:
    """Median and range over seeds."""
    if not values:
        return "not measured"
    middle = f"{median(values):{form}}"
    return (
        middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}}, {len(values)} seeds)"
    )


def best_of_ign(variants: Iterable[Variant]) -> float | None:
    """The smallest median Fréchet distance at f of the published method, with which the others are compared."""
    values = [variant.middle(FRECHET) for variant in variants if variant.name in PUBLISHED]
    return min((value for value in values if value is not None), default=None)


def best_of(variants: Iterable[Variant]) -> Variant:
    """The variant with the smallest Fréchet distance; without any, that with the most classes, then readable. Variants
    that do not project at noise and digits, or had a longer budget than the published method, do not count."""
    variants = list(variants)
    budgets = [variant.budget for variant in variants if variant.name in PUBLISHED]
    variants = [variant for variant in variants if variant.projects] or variants
    allowed = max(budgets, default=math.inf)
    variants = [variant for variant in variants if variant.budget <= BUDGETS_AGREE * allowed] or variants

    def rank(variant: Variant) -> tuple[float, float, float]:
        frechet, classes, readable = (variant.middle(name) for name in (FRECHET, CLASSES, READABLE))
        return (math.inf if frechet is None else frechet, -(classes or 0), -(readable or 0))

    return min(variants, key=rank)
