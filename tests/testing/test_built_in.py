"""What idemlab ships passes its own checks, with every sensible choice of arguments, and no failure is expected."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from idemlab import installed
from idemlab.testing import (
    check_dataset,
    check_enforcer,
    check_metric,
    check_model,
    check_source,
    conformance_checks,
    enforcer_checks,
    reproduce,
)

Arguments = dict[str, object]

PAIR = ["cubic", "gradient"]
ENFORCERS: list[tuple[str, Arguments]] = [
    ("alignment", {}),
    ("cubic", {}),
    ("purification", {}),
    ("gradient", {}),
    ("gradient", {"routing": "inner"}),
    ("hybrid", {"enforcers": PAIR, "mode": "crossfade", "warmup": 0.1}),
    ("ign", {}),
    ("ign", {"routing": "surrogate"}),
    ("limit", {}),
    ("limit", {"depth": 2}),
    ("linearizer", {"rank": 2}),
    ("section", {"rank": 2}),
    ("none", {}),
    ("relative", {}),
    ("log-relative", {}),
    ("truncation", {"rank": 3}),
    ("union", {}),
    ("union", {"balanced": False}),
    *(("purification", {"method": method, "rank": 2}) for method in ("sp2", "trs4", "hpcp", "pm")),
    ("purification", {"method": "optimal", "gap": 0.2}),
]
"""Each formula once. `VARIANTS` change a constant, a distance, or the members of a hybrid, or take long."""
VARIANTS: list[tuple[str, Arguments]] = [
    ("rank", {"rank": 2}),
    ("purification", {"method": "holas-5"}),
    ("linearizer", {"learned": True}),
    ("ign", {"tightness": 0.0, "routing": "cubic"}),
    ("gradient", {"routing": "outer", "distance": "l1"}),
    ("hybrid", {"enforcers": ["purification", "gradient"]}),
    ("purification", {"method": "holas-7"}),
    ("purification", {"method": "sp2", "rank": 0}),
    ("purification", {"method": "trs4", "rank": 3, "step": 0.5}),
    ("cubic", {"cotangent": "unit", "weight": 3.0}),
    ("cubic", {"cotangent": "mean"}),
    ("purification", {"step": 0.3}),
    ("gradient", {"distance": "l1"}),
    ("gradient", {"depth": 3}),
    ("relative", {"squared": True}),
    ("hybrid", {"enforcers": ["cubic", "relative"]}),
    ("hybrid", {"enforcers": PAIR, "mode": "switch", "threshold": 0.25}),
    ("hybrid", {"enforcers": ["cubic", "ign"]}),
    ("ign", {"routing": "cubic"}),
    ("ign", {"distance": "l2", "clamp": 0.0}),
    ("ign", {"routing": "surrogate", "distance": "l2"}),
    ("ign", {"tightness": 0.0}),
    ("linearizer", {"rank": 3, "learned": True}),
]


def one_of_each(cases: list[tuple[str, Arguments]]) -> list[Any]:
    """All cases. The first of each name is fast unless it takes seconds; the others are long; what takes longest is slow."""
    first = dict(reversed(cases))

    def mark(name: str, arguments: Arguments) -> Any:
        if name == "biorthogonal":
            return pytest.mark.slow
        return () if first[name] is arguments and name != "rank" else pytest.mark.long

    return [pytest.param(*case, marks=mark(*case)) for case in cases]


def test_no_built_in_enforcer_is_left_out() -> None:
    ours = {e.spec.name for e in installed().entries("enforcer") if e.plugin.distribution == "idemlab"}
    assert ours == {name for name, _ in ENFORCERS + VARIANTS}


@pytest.mark.parametrize(("name", "arguments"), one_of_each(ENFORCERS + VARIANTS), ids=str)
def test_enforcers_quickly(name: str, arguments: Arguments) -> None:
    start = time.process_time()
    report = check_enforcer(name, arguments, quick=True)
    assert report.passed, str(report)
    assert time.process_time() - start < 10


def test_a_projector_up_to_rounding_does_not_tell_against_an_exact_penalty() -> None:
    """Its step there has full length and the direction of rounding, which differs from processor to processor."""
    for angle in (0.1 * i for i in range(1, 16)):
        c, s = math.cos(angle), math.sin(angle)
        K = torch.tensor([[0, 0, 0], [0, c * c, c * s], [0, c * s, s * s]], dtype=torch.float64)
        reproduce("relative", "orthogonally-equivariant", matrix=K)


@pytest.mark.slow
def test_an_enforcer_of_random_probes() -> None:
    """Its means over many draws take longer."""
    report = check_enforcer("rank", {"rank": 2, "probes": 2}, quick=True)
    assert report.passed, str(report)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), ENFORCERS + VARIANTS, ids=str)
def test_enforcers_thoroughly(name: str, arguments: Arguments) -> None:
    start = time.process_time()
    report = check_enforcer(name, arguments)
    assert report.passed, str(report)
    assert time.process_time() - start < 60


@pytest.mark.slow
def test_ten_runs_give_the_same_verdicts() -> None:
    runs = {tuple((row.check, row.outcome) for row in check_enforcer("cubic").rows) for _ in range(10)}
    assert len(runs) == 1


@enforcer_checks(["purification"], quick=True)
def test_through_the_decorator(check: Callable[[], None]) -> None:
    check()


MODELS: list[tuple[str, Arguments]] = [
    ("attention", {}),
    ("attention", {"position": False}),
    ("autoencoder", {}),
    ("autoencoder", {"norm": "batch", "init": "dcgan"}),
    ("biorthogonal", {}),
    ("biorthogonal", {"cell": 0.25}),
    ("biorthogonal", {"activation": "leaky"}),
    ("conv", {}),
    ("coupling", {"width": 16}),
    ("coupling", {"width": 16, "affine": False, "start": "none"}),
    ("conv", {"residual": True, "norm": "group"}),
    ("patches", {}),
    ("linear", {}),
    ("linear", {"init": "identity", "bias": True}),
    ("mlp", {}),
    ("mlp", {"residual": True, "norm": "layer"}),
    ("unet", {"residual": True, "channels": 8}),
]


@pytest.mark.parametrize(("name", "arguments"), one_of_each(MODELS), ids=str)
def test_models(name: str, arguments: Arguments) -> None:
    report = check_model(name, arguments)
    assert report.passed, str(report)


@conformance_checks("model", [("linear", {"init": "identity"})])
def test_models_through_the_decorator(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", ["gaussian", "torus", "gratings", "sphere", "ball", "sequences", "digits", "faces"])
def test_datasets(name: str) -> None:
    report = check_dataset(name)
    assert report.passed, str(report)


SOURCES: list[tuple[str, Arguments]] = [
    ("data", {}),
    ("gaussian", {}),
    ("fourier", {}),
    ("corrupted", {}),
    ("corrupted", {"random_strength": True, "fraction": 0.5, "mask": 0.3}),
    ("corrupted", {"blur": 1.0}),
    ("augmented", {"transforms": [{"name": "RandomAffine", "degrees": 20}]}),
    ("imle", {}),
    ("imle", {"noise": "fourier"}),
    ("transport", {"pool": 64}),
    ("transport", {"pool": 64, "debiased": True}),
    ("transport", {"pool": 24, "debiased": True, "temperatures": [0.1], "passes": 2, "ema": 0.9}),
    ("transport", {"pool": 24, "cost": "pca", "squared": True}),
]


@pytest.mark.parametrize(("name", "arguments"), one_of_each(SOURCES), ids=str)
def test_sources(name: str, arguments: Arguments) -> None:
    report = check_source(name, arguments)
    assert report.passed, str(report)


METRICS: list[tuple[str, Arguments]] = [
    ("asked-class", {}),
    ("class-coverage", {}),
    ("codes-that-stay", {}),
    ("data-copying", {}),
    ("data-copying", {"features": "hog"}),
    ("diversity", {}),
    ("diversity", {"features": "pca"}),
    ("drift", {}),
    ("frechet-distance", {}),
    ("frechet-distance", {"features": "hog"}),
    ("frechet-distance", {"features": "pca"}),
    ("invertibility", {}),
    ("manifold-distance", {}),
    ("nearest-training", {}),
    ("precision-recall", {}),
    ("precision-recall", {"features": "pca"}),
    ("projection-distance", {}),
    ("psnr", {}),
    ("reconstruction-error", {}),
    ("restoration-error", {}),
    ("ssim", {}),
]


@pytest.mark.parametrize(("name", "arguments"), one_of_each(METRICS), ids=str)
def test_metrics(name: str, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path))
    report = check_metric(name, arguments)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("kind", "checked"),
    [
        ("model", {name for name, _ in MODELS}),
        ("source", {name for name, _ in SOURCES}),
        ("metric", {name for name, _ in METRICS}),
    ],
)
def test_nothing_is_left_out(kind: str, checked: set[str]) -> None:
    ours = {e.spec.name for e in installed().entries(kind) if e.plugin.distribution == "idemlab"}
    assert ours <= checked
