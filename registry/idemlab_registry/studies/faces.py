"""The pipeline of generation on the offline ORL faces; people in the test split are never seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study, Trial

from .gallery import Block, gallery
from .orbit_panel import orbit_panel
from .trained import Trained

__all__ = ["examine", "study"]

VARIANTS = {
    "projector": "noise matched one to one + relative, repairing too",
    "augmented": "noise coupled softly + relative, repairing augmented faces",
    "section": "section of rank 16 by construction, noise coupled softly, repairing augmented faces",
    "section-64": "section of rank 64 by construction, noise coupled softly, repairing augmented faces",
    "ign": "IGN as published",
}
"""Name of the sweep -> what a reader calls it."""
_COLUMNS = {
    "relative error": "noise/relative",
    "absolute error": "noise/absolute",
    "f to f³": "noise/drift_3",
    "f to f⁵⁰": "noise/drift_50",
    "rank": "noise/rank",
    "standard deviation": "noise/spread",
    "at faces": "data/relative",
    "at corrupted faces": "corrupted/relative",
    "Fréchet f": "noise/frechet_pca_1",
    "f³": "noise/frechet_pca_3",
    "of test faces": "noise/frechet_pca_of_test",
    "diversity": "noise/diversity_pca",
    "reconstruction error": "data/reconstruction_error",
    "restoration error": "corrupted/restoration_error",
    "nearest training": "noise/nearest_training",
    "of test faces, nearest": "noise/nearest_training_of_test",
    "copied share beyond chance": "noise/copied_hog",
    "margin of chance": "noise/copied_hog_margin",
}
"""Heading of a column -> metric of the runs."""
_NEAREST = 10
_UNSEEN = 80
_CELEBA = (
    "CelebA itself is in no package and asks for a GPU: `celeba-ign` and `celeba-cubic` are ready for it "
    "(name the folder as `dataset.root`; without one they read the hub). The tests run both on a small folder that they "
    "make. They are not part of this record."
)


def study() -> Study:
    """The study, with the sweeps of faces.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """Rows of images, figures side by side, and claims."""
    complete = {
        name: [trial for trial in material.results[name].trials if trial.state == "complete"]
        for name in VARIANTS
        if name in material.results
    }
    variants = {name: trials for name, trials in complete.items() if trials}
    if not variants:
        return Findings(text=f"No trial was completed: there is nothing to examine.\n\n{_CELEBA}")
    findings = Findings(text=_text(material, variants))
    for name, trials in variants.items():
        material.say(f"pictures of {VARIANTS[name]}")
        trained = Trained.of(trials[0].run)
        findings.figures[f"orbits-{name}"] = orbit_panel(trained)
        findings.captions[f"orbits-{name}"] = (
            f"{VARIANTS[name]}, seed {trials[0].seed}: the first noises and faces of unseen people, none chosen."
        )
        findings.figures[f"nearest-{name}"] = _nearest(trained)
        findings.captions[f"nearest-{name}"] = "Generated and unseen faces above their nearest training images."
        findings.claims += _claims(VARIANTS[name], trials, _smoothed(trained))
    findings.tables["faces"] = DataFrame(
        [
            {"variant": VARIANTS[name], "seed": trial.seed, "verdict": trial.verdict, "steps": trial.steps}
            | {column: trial.metrics.get(figure) for column, figure in _COLUMNS.items()}
            for name, trials in variants.items()
            for trial in trials
        ]
    )
    findings.captions["faces"] = (
        "Errors at fresh noise and at faces of unseen people, relative to the spread. Fréchet distance and diversity in "
        "the leading principal components of the training faces. Euclidean distance to the nearest training image."
    )
    return findings


def _nearest(trained: Trained) -> Figure:
    batch = trained.test(_NEAREST)
    blocks = []
    for heading, points in (("f(z), z noise", trained.apply(trained.noise(batch))), ("unseen faces", batch.input)):
        distance, images = trained.nearest_training(points)
        notes = tuple(f"{value:.1f}" for value in distance.tolist())
        blocks.append(Block(heading, {"image": points, "nearest": images}, notes))
    return gallery([blocks], trained.dataset.range)


def _smoothed(trained: Trained) -> float:
    """Mean distance of f(x) to the nearest training image, x faces of unseen people: f alone brings images nearer."""
    return float(trained.nearest_training(trained.apply(trained.test(_UNSEEN).input))[0].mean())


def _claims(label: str, trials: list[Trial], smoothed: float) -> list[Claim]:
    """What holds of one variant: whether it projects, and whether it has memorised.

    Args:
        smoothed: of the first trial, as `_smoothed` measures it.
    """
    verdicts = sorted({trial.verdict for trial in trials})
    claims = [
        Claim(
            claim=f"{label}: f projects, at noise, faces and corrupted faces.",
            ours=f"verdict {', '.join(verdicts)}; relative error at noise {_told(trials, 'noise/relative')}, at faces "
            f"{_told(trials, 'data/relative')}, at corrupted ones {_told(trials, 'corrupted/relative')}; rank at noise "
            f"{_told(trials, 'noise/rank')}",
            conclusion="It does." if verdicts == ["genuine"] else "It does not at all of them.",
            holds=verdicts == ["genuine"],
        )
    ]
    near, test = _values(trials, "noise/nearest_training"), _values(trials, "noise/nearest_training_of_test")
    if near and test:
        ratio = median(near) / median(test)
        claims.append(
            Claim(
                claim=f"{label}: generated faces are no nearer to the training images than faces of unseen people are, "
                "within 10%.",
                ours=f"distance {median(near):.2f}, of unseen people {median(test):.2f}: ratio {ratio:.2f}; diversity "
                f"{_told(trials, 'noise/diversity_pca')} of that of faces",
                controlled=f"of f at unseen people {smoothed:.2f}: ratio {median(near) / smoothed:.2f} (first seed)",
                conclusion="That says nothing of a collapse to one image."
                if "constant" in verdicts
                else "They are not."
                if ratio >= 0.9
                else "They are, but not nearer than unseen faces that passed through f, which smooths them."
                if median(near) >= 0.9 * smoothed
                else "They are, even nearer than unseen faces that passed through f.",
                holds=None if "constant" in verdicts else ratio >= 0.9,
            )
        )
    return claims


def _values(trials: list[Trial], figure: str) -> list[float]:
    values = [trial.metrics.get(figure) for trial in trials]
    return [value for value in values if value is not None]


def _told(trials: list[Trial], figure: str) -> str:
    """Median, and the range over seeds where there are several."""
    values = _values(trials, figure)
    if not values:
        return "not measured"
    middle = f"{median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g} to {max(values):.3g}, {len(values)} seeds)"


def _text(material: Material, variants: Mapping[str, list[Trial]]) -> str:
    seeds = sorted({len(trials) for trials in variants.values()})
    text = (
        "320 faces of 32 people to train on, 80 of eight others to test on (ORL/AT&T); the same budget for each variant, "
        "the same network but for those by construction, which share another one, "
        f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}."
    )
    if material.quick:
        text += " This is the small version: 32 x 32 pixels, some hundred steps."
    return f"{text}\n\n{_CELEBA}"
