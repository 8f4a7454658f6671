"""Generation on MNIST: the variants of the paper and of IGN beside noise matched to data, at equal counted FLOPs; and the
best of both sides for longer."""

from __future__ import annotations

from pathlib import Path

from pandas import DataFrame

from idemlab import Findings, Material, Study

from . import generation_curves
from .generation_asked import asked_claims
from .generation_claims import claims_of
from .generation_pictures import Lines, dots, generated, price_drawn
from .generation_variants import CONSTRUCTED, FREE, LATER, MATCHED, SOFT, Variant, variants_of
from .orbit_panel import orbit_panel
from .trained import Trained

__all__ = ["examine", "study"]


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
"""Name of the table -> heading of a column -> metric of the runs."""
LATER_TABLES = {
    "judges": {
        "Fréchet f": "noise/frechet_hog_1",
        "f³": "noise/frechet_hog_3",
        "test digits": "noise/frechet_hog_of_test",
        "precision": "noise/precision_hog_1",
        "recall": "noise/recall_hog_1",
        "density": "noise/density_hog_1",
        "coverage": "noise/coverage_hog_1",
        "copied": "noise/copied_pca",
        "by chance": "noise/copied_pca_margin",
        "copied, gradients": "noise/copied_hog",
        "by chance, gradients": "noise/copied_hog_margin",
        "f to f⁵⁰": "noise/drift_50",
    },
    "rejection": {
        "left out": "noise/rejected",
        "readable": "noise/readable",
        "of the kept": "noise/kept_readable",
        "Fréchet": "noise/frechet_cnn_1",
        "Fréchet, kept": "noise/kept_frechet_cnn_1",
        "precision": "noise/precision_cnn_1",
        "precision, kept": "noise/kept_precision_cnn_1",
        "recall": "noise/recall_cnn_1",
        "recall, kept": "noise/kept_recall_cnn_1",
    },
    "classes": {
        "of the class asked for": "noise/asked_class",
        "and readable": "noise/asked_class_readable",
        "in the worst class": "noise/asked_class_worst",
        "at f³": "noise/asked_class_3",
        "test digits": "noise/asked_class_of_test",
    },
}
"""The same for the variants of the second round."""
_CAPTIONS = {
    "quality": "Images generated from fresh noise. The Fréchet distance is that to the training images, in the features "
    "of a classifier. Classes count if they have at least 5 % of the readable images; beside them stand the share of the "
    "rarest and the entropy of the classes over log 10. Readable is what the classifier is more than 90 % sure of. "
    "Diversity is the mean distance of two images over that of two test digits.",
    "overlap": "Precision, recall and coverage in the features of the classifier, against as many training images.",
    "idempotence": "Errors relative to the spread, at fresh noise (with rank and verdict), at digits and at corrupted "
    "digits. What f does to data. Euclidean distance to the nearest training image.",
    "judges": "A second opinion on the variants of the second round, in features that nobody trained (oriented gradients). "
    "Copied: the share of generated images whose neighbour is a training image more often than chance has it; below the "
    "number beside it, chance explains it. The change from f to f⁵⁰ is relative to the spread.",
    "rejection": "What changes if the tenth of the images at which the Jacobian of f is largest is left out. The kept are "
    "fewer, which alone raises a Fréchet distance a little.",
    "classes": "The variants that receive a class as a condition: the share of their images that the classifier puts into "
    "that class, and the same share of test digits and their labels.",
    "curves": "Evaluations along the training, by counted FLOPs.",
}


def study() -> Study:
    """The study, with the sweeps of generation.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """Rows of images for each variant, their figures side by side, and the claims."""
    variants = variants_of(material)
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
    first, later = (tuple(v for v in variants if (v.name in LATER) is second) for second in (False, True))
    _rows(findings, "generated", first)
    _rows(findings, "generated-later", later)
    for name, some, matched, asked in (
        ("", first, [v for v in first if v.name in MATCHED], None),
        ("-later", later, [v for v in later if v.name in (*SOFT, *CONSTRUCTED, *FREE)], Lines(12.0, 0.95, 0.01)),
    ):
        if some:
            findings.figures[f"figures{name}"] = dots(list(some), asked)
            findings.captions[f"figures{name}"] = (
                "Quality and idempotence at fresh noise; a point is one seed. Dashed: what was asked for."
            )
        if len(matched) > 1:
            findings.figures[f"price{name}"] = price_drawn(matched, asked)
            findings.captions[f"price{name}"] = (
                "What stillness costs where noise is matched to data; a point is one seed. Dashed: what was asked for, to "
                "be left of and above. Below 1 generated digits are nearer to the training images than test digits are."
            )
    curves = generation_curves.curves_of(later, material.kept.get("curves"))
    if curves:
        findings.tables["curves"] = generation_curves.table(curves)
        findings.captions["curves"] = _CAPTIONS["curves"]
    if later:
        findings.figures["budgets"] = generation_curves.drawn(curves) if curves else None
        findings.captions["budgets"] = (
            "Classes, Fréchet distance, readable share and drift at fresh noise along the training; a line is one trial. "
            "A change below 1e-7, which is rounding, is drawn at 1e-7."
        )
    for name, columns in TABLES.items():
        findings.tables[name] = DataFrame([row for variant in variants for row in variant.rows(columns)])
        findings.captions[name] = _CAPTIONS[name]
    for name, columns in LATER_TABLES.items():
        measured = [variant for variant in later if any(variant.values(figure) for figure in columns.values())]
        if measured:
            findings.tables[name] = DataFrame([row for variant in measured for row in variant.rows(columns)])
            findings.captions[name] = _CAPTIONS[name]
    findings.claims = [*(claims_of(list(first)) if first else []), *asked_claims(list(later), curves)]
    return findings


def _rows(findings: Findings, name: str, variants: tuple[Variant, ...]) -> None:
    """One row of images for each variant of a round.

    A record that is resumed keeps its rows, and has the new ones apart, in a picture that is named after the first of them.
    """
    there = [variant for variant in variants if variant.trials[0].run.weights_file.is_file()]
    whole = len(there) == len(variants)
    if variants:
        findings.figures[name] = generated(list(variants)) if whole else None
        findings.captions[name] = "f(z) of the variants at the same noises (those of their own source)."
    if not whole:
        for variant in variants:  # pictures of earlier continuations are listed where they are
            further = f"{name}-{variant.name}"
            findings.figures[further] = generated(there) if variant in there[:1] else None
            findings.captions[further] = "f(z) of variants that were added later, named at their rows."


def _text(material: Material, variants: list[Variant]) -> str:
    trials = [trial for results in material.results.values() for trial in results.trials]
    failed = [f"{trial.error}" for trial in trials if trial.state != "complete"]
    seeds = sorted({len(variant.trials) for variant in variants})
    budgets = sorted({f"{trial.flops:.2g}" for variant in variants for trial in variant.trials if trial.flops})
    but = " but for the constructions" if any(variant.name in CONSTRUCTED for variant in variants) else ""
    text = (
        f"{len(variants)} variants on one network{but}, {' or '.join(budgets)} counted FLOPs each, "
        f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}: with one seed a figure has no spread, and "
        "nothing is claimed of differences that one might make."
    )
    if material.quick:
        text += " This is the small version: few images, some hundred steps. It shows that everything works, no more."
    if failed:
        text += f"\n\n{len(failed)} of {len(trials)} trials were not completed: " + "; ".join(failed)
    return text
