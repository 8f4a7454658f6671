"""Every shipped experiment runs end to end for a few steps. Tiny data stand in for data sets that are not shipped.

The fast tests run one experiment for each pair of data set and model, and only the preflight of the others.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import idemlab
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

EXPERIMENTS = [entry.spec.name for entry in idemlab.installed().entries("experiment")]


def _kind(name: str) -> tuple[str, str]:
    """The names of its data set and of its model."""
    experiment = idemlab.resolve(name)
    return experiment.dataset.name, experiment.model.name


ELSEWHERE = {
    *(
        "digits-biorthogonal",
        "generation-biorthogonal",
        "generation-linearizer",
        "generation-quantised",
        "generation-section",
        "generation-section-by-class",
    )
}
"""Networks that others stand for: only the long tests try them."""
TAKE_LONG = {"digits-linearizer", "digits-section", *ELSEWHERE}
END_TO_END = set({_kind(name): name for name in reversed(EXPERIMENTS)}.values()) - TAKE_LONG
"""The first experiment of each kind. Others differ in enforcer, source or optimiser, which the preflight covers."""


def _idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in the form of MNIST and of CelebA, with random pictures, dark and bright ones."""
    random = np.random.default_rng(0)
    mnist, celeba = tmp_path_factory.mktemp("mnist"), tmp_path_factory.mktemp("celeba")
    for split, count in (("train", 150), ("t10k", 20)):
        images = random.integers(0, 128, (count, 28, 28), dtype=np.uint8)
        images[::2] += 128  # two clusters, for the experiments that look for them
        _idx(mnist / f"{split}-images-idx3-ubyte.gz", images)
        _idx(mnist / f"{split}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    for number in range(30):
        picture = Image.fromarray(random.integers(0, 256, (218, 178, 3), dtype=np.uint8))
        picture.save(celeba / f"{number:06d}.jpg")
    return {"mnist": mnist, "celeba": celeba}


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *((name, name in END_TO_END) for name in EXPERIMENTS if name not in ELSEWHERE),
        *(pytest.param(name, True, marks=pytest.mark.long) for name in EXPERIMENTS if name not in END_TO_END),
    ],
)
def test_it_runs(
    name: str, whole: bool, tmp_path: Path, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [
        "training.steps=2", "training.batch_size=4", "training.log_every=1",
        "evaluation.every=1", "evaluation.points=12", "evaluation.rank_points=1",
    ]  # fmt: skip
    experiment = idemlab.resolve(name)
    if experiment.condition == "clusters":
        monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "cache"))
    dataset = experiment.dataset.name
    if dataset in roots:
        overrides += [f"dataset.root={str(roots[dataset])!r}"]
    if "channels" in experiment.model.arguments:
        overrides += ["model.channels=4"]
    several = len(experiment.sources) > 1
    for i, source in enumerate(experiment.sources):
        if "pool" in source.arguments:
            overrides += [f"source.{i}.pool=8" if several else "source.pool=8"]
    measured_elsewhere = name.startswith(("generation-", "faces-")) and name != "generation-control"
    if dataset == "digits" or measured_elsewhere:
        overrides += [
            "evaluation.metrics=['reconstruction-error']",
            "evaluation.reject=0",
        ]  # others look at all of the data
    if dataset in (
        "digits",
        "mnist",
        "faces",
        "celeba",
    ):  # Jacobians of pictures take their time: only of one experiment
        overrides += ["evaluation.every=2", f"evaluation.rank_points={int(name == 'digits-control')}"]
    if not whole:
        experiment = idemlab.resolve(name, overrides)
        plan = preflight(experiment, assemble(experiment), device=torch.device("cpu"))
        assert plan.steps == 2
        assert plan.flops_per_step > 0
        return
    run = idemlab.train(name, tmp_path / "run", overrides=overrides)
    certificate = run.certificate
    assert certificate is not None
    assert {"data", *experiment.inputs} == set(certificate["inputs"])
    assert certificate["steps"] == 2
    assert [entry["step"] for entry in run.metrics if entry["split"] == "train"] == [1, 2]
    assert idemlab.load(run).training is False


def test_the_experiments_that_the_readme_and_the_papers_name_are_there() -> None:
    assert set(EXPERIMENTS) >= {
        "digits-projector", "digits-control", "linear-cubic", "mlp-cubic", "mlp-gradient", "mlp-hybrid",
        "mnist-ign", "mnist-cubic", "celeba-ign", "celeba-cubic", "sorting", "compression",
    }  # fmt: skip


def test_each_has_a_summary_that_fits_a_line() -> None:
    entries = idemlab.installed().entries("experiment")
    wrong = [
        entry.spec.name
        for entry in entries
        if not 20 < len(entry.spec.summary) < 130 or idemlab.resolve(entry.spec.name).summary != entry.spec.summary
    ]
    assert not wrong


@pytest.mark.long
def test_the_control_spends_the_operations_of_the_main_job() -> None:
    """`digits-control` states as FLOPs what the steps of `digits-projector` cost."""
    plans = []
    for name in ("digits-projector", "digits-control"):
        experiment = idemlab.resolve(name)
        plans.append(preflight(experiment, assemble(experiment), device=torch.device("cpu")))
    projector, control = plans
    assert control.steps * control.flops_per_step == pytest.approx(
        projector.steps * projector.flops_per_step, rel=0.001
    )
    assert control.steps > projector.steps
