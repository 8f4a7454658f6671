"""Generation on MNIST: the variants of the paper and of IGN beside noise matched to data, at equal counted FLOPs; and the
best of both sides for longer."""

from __future__ import annotations

from pathlib import Path

from pandas import DataFrame

from idemlab import Findings, Material, Study

from .generation_claims import claims_of
from .generation_pictures import dots, generated, price_drawn
from .generation_variants import MATCHED, Variant, variants_of
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
_CAPTIONS = {
    "quality": "Images generated from fresh noise. The Fréchet distance is that to the training images, in the features "
    "of a classifier. Classes count if they have at least 5 % of the readable images; beside them stand the share of the "
    "rarest and the entropy of the classes over log 10. Readable is what the classifier is more than 90 % sure of. "
    "Diversity is the mean distance of two images over that of two test digits.",
    "overlap": "Precision, recall and coverage in the features of the classifier, against as many training images.",
    "idempotence": "Errors relative to the spread, at fresh noise (with rank and verdict), at digits and at corrupted "
    "digits. What f does to data. Euclidean distance to the nearest training image.",
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
    there = [variant for variant in variants if variant.trials[0].run.weights_file.is_file()]
    whole = len(there) == len(variants)
    findings.figures["generated"] = generated(variants) if whole else None
    findings.captions["generated"] = "f(z) of the variants at the same noises (those of their own source)."
    if not whole:  # a record that is resumed keeps its rows
        findings.figures["generated-further"] = generated(there) if there else None
        findings.captions["generated-further"] = "The same of variants that were added later."
    findings.figures["figures"] = dots(variants)
    findings.captions["figures"] = (
        "Quality and idempotence at fresh noise; a point is one seed. Dashed: what was asked for."
    )
    matched = [variant for variant in variants if variant.name in MATCHED]
    if len(matched) > 1:
        findings.figures["price"] = price_drawn(matched)
        findings.captions["price"] = (
            "What stillness costs where noise is matched to data; a point is one seed. Dashed: what was asked for, to be "
            "left of and above. Below 1 generated digits are nearer to the training images than test digits are."
        )
    for name, columns in TABLES.items():
        findings.tables[name] = DataFrame([row for variant in variants for row in variant.rows(columns)])
        findings.captions[name] = _CAPTIONS[name]
    findings.claims = claims_of(variants)
    return findings


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
