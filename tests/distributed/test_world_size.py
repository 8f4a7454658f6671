"""The same global batch gives the same run, whatever number of processes and micro-batches it is cut for."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import idemlab
from idemlab.objective.cutting import ENTRY_BY_ENTRY
from idemlab.runs.weights import read_weights

Make = Callable[..., dict[str, Any]]
Together = Callable[..., list[list[dict[str, Any]]]]

TOLERANCE = 1e-10
"""Relative, after 20 steps in double precision."""

FLOOR = 1e-4
"""Figures below are compared with this: the residual of an idempotent is nothing but rounding."""

LINEAR = {"model": {"name": "linear", "init": "spectrum"}}
IMAGES = {"dataset": {"name": "gaussian", "shape": [1, 8, 8], "train": 64, "test": 16}}
CUBIC, GRADIENT = {"name": "cubic", "weight": 0.5}, {"name": "gradient"}
SWITCH = {"name": "hybrid", "mode": "switch", "threshold": 0.25}
COUPLING = {"model": {"name": "coupling", "width": 8}, "optimizer": {"name": "sgd", "lr": 0.05}}
"""g^-1 takes back some biases that g adds, so f does not depend on them. Adam makes steps of their gradient's rounding."""
CODED: dict[str, Any] = IMAGES | {"model": {"name": "autoencoder", "channels": 4, "latent": 4, "depth": 1}}

ENFORCERS: dict[str, dict[str, Any]] = {
    "none": {"enforcer": "none"},
    "cubic": {"enforcer": "cubic"},
    "cubic, unit": {"enforcer": {"name": "cubic", "cotangent": "unit"}},
    "purification": LINEAR | {"enforcer": "purification"},
    "purification, damped and nothing else": LINEAR
    | {"enforcer": {"name": "purification", "step": 0.5}, "reconstruction": {"weight": 0.0}},
    "gradient": {"enforcer": "gradient"},
    "gradient, inner": {"enforcer": {"name": "gradient", "routing": "inner"}},
    "gradient, outer": {"enforcer": {"name": "gradient", "routing": "outer"}},
    "gradient, l1": {"enforcer": {"name": "gradient", "distance": "l1"}},
    "gradient, depth 3": {"enforcer": {"name": "gradient", "depth": 3}},
    "relative": {"enforcer": "relative"},
    "log-relative": {"enforcer": "log-relative"},
    "rank": {"enforcer": {"name": "rank", "rank": 2}},
    "rank, every third": {"enforcer": {"name": "rank", "rank": 2, "every": 3}},
    "rank, probes": {"enforcer": {"name": "rank", "rank": 2, "probes": 2}},
    "ign": {"enforcer": "ign"},
    "ign, surrogate": {"enforcer": {"name": "ign", "routing": "surrogate", "distance": "l2"}},
    "ign, cubic": {"enforcer": {"name": "ign", "routing": "cubic"}},
    "ign, unclamped": {"enforcer": {"name": "ign", "clamp": 0.0, "tightness": 0.5}},
    "ign, without tightness": {"enforcer": {"name": "ign", "tightness": 0.0}},
    "alignment": CODED | {"enforcer": "alignment", "reconstruction": {"weight": 1.0}},
    "linearizer": COUPLING | {"enforcer": {"name": "linearizer", "rank": 3}},
    "linearizer, learned": COUPLING | {"enforcer": {"name": "linearizer", "rank": 3, "learned": True}},
    "section": {"enforcer": {"name": "section", "rank": 3}},
    "union": {
        "dataset": {"name": "digits", "condition": "training"},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "optimizer": {
            "name": "adam",
            "lr": 3e-4,
        },  # at a higher rate f is constant to rounding, which nothing can compare
        "enforcer": {"name": "hybrid", "enforcers": [{"name": "section", "rank": 3}, {"name": "union"}]},
    },
    "truncation": CODED | {"enforcer": {"name": "truncation", "rank": 3}},
    "limit, depth 2": {"enforcer": {"name": "limit", "depth": 2}},
    "limit": {"enforcer": {"name": "limit", "most": 5, "terms": 3}},
    "hybrid, blend": {"enforcer": {"name": "hybrid", "enforcers": [CUBIC, GRADIENT], "warmup": 0.5}},
    "hybrid, crossfade": {"enforcer": {"name": "hybrid", "enforcers": [CUBIC, GRADIENT], "mode": "crossfade"}},
    "hybrid, switch": {"enforcer": SWITCH | {"enforcers": [CUBIC, GRADIENT]}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "source augmented": CODED
    | {"dataset": {"name": "faces", "size": 8}}
    | {"reconstruction": {"input": {"name": "augmented", "transforms": [{"name": "RandomHorizontalFlip"}]}}},
    "source gaussian": {"source": {"name": "gaussian"}},
    "source fourier": {"source": {"name": "fourier"}},
    "source imle": {"source": {"name": "imle", "pool": 25}},
    "source transport": {"source": {"name": "transport", "pool": 32}},
    "source transport, debiased": {"source": {"name": "transport", "pool": 32, "debiased": True}},
    "corrupted inputs": {"reconstruction": {"input": "corrupted"}},
    "model conv": IMAGES | {"model": {"name": "conv", "channels": 4}},
    "model autoencoder": IMAGES
    | {"model": {"name": "autoencoder", "channels": 4, "latent": 4, "depth": 1, "norm": "group"}},
    "model biorthogonal": {"model": {"name": "biorthogonal", "latent": 2}, "enforcer": "none"},
    "model biorthogonal, rounded": {"model": {"name": "biorthogonal", "latent": 2, "cell": 0.1}, "enforcer": "none"},
    "model patches": IMAGES | {"model": {"name": "patches", "channels": 4, "latent": 4}},
    "model unet": IMAGES | {"model": {"name": "unet", "channels": 8}},
    "model attention": IMAGES | {"model": {"name": "attention", "width": 8, "depth": 1}},
    "clipped, cosine": {
        "optimizer": {"name": "adamw", "lr": 0.01, "schedule": "cosine", "warmup": 0.2, "clip": 0.1},
    },
    "sgd with momentum": {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
    "odd widths": {"model": {"name": "mlp", "width": 7, "depth": 2}, "optimizer": {"name": "rmsprop", "lr": 0.001}},
}
OPTIMIZERS = {
    f"optimizer {name}": {"optimizer": {"name": name, "lr": 0.01}, "model": {"name": "mlp", "width": 7, "depth": 2}}
    for name in sorted(ENTRY_BY_ENTRY)
}
CASES = ENFORCERS | OTHERS | OPTIMIZERS
FEW = ["relative", "ign", "purification"]

ALONE = {"1 process, 2 micro-batches": {"micro_batches": 2}}
SPREAD = {
    "DDP": {},
    "DDP, 2 micro-batches": {"micro_batches": 2},
    "fully_shard": {"sharded": True},
    "fully_shard, 2 micro-batches": {"sharded": True, "micro_batches": 2},
}

WAYS = ALONE | SPREAD


def _job(table: dict[str, Any], out: Path, micro_batches: int = 1, sharded: bool = False) -> dict[str, Any]:
    table = table | {"training": table["training"] | {"micro_batches": micro_batches}}
    return {"table": table, "out": str(out), "sharded": sharded}


def _coupled(table: dict[str, Any]) -> bool:
    return idemlab.resolve(table).enforcer.traits().batch_coupled


def _difference(run: idemlab.Run, other: idemlab.Run) -> dict[str, float]:
    """The largest relative differences of losses, other figures and weights."""
    worst = {"loss": 0.0, "figures": 0.0, "weights": 0.0}
    cut = {run.experiment.training.micro_batches, other.experiment.training.micro_batches} != {1}
    for entry, expected in zip(other.metrics, run.metrics, strict=True):
        assert entry.keys() == expected.keys()
        for name, value in expected.items():
            if name in ("step", "split"):
                assert entry[name] == value
            # The spread of a micro-batch is its own, as in the relative error: the mean of two is not that of both.
            elif name != "time" and not (cut and name in ("relative", "spread")):
                kind = "loss" if name == "loss" else "figures"
                worst[kind] = max(worst[kind], abs(entry[name] - value) / max(abs(value), FLOOR))
    weights = read_weights(other.weights_file)
    for name, expected in read_weights(run.weights_file).items():
        worst["weights"] = max(worst["weights"], float((weights[name] - expected).norm() / expected.norm()))
    return worst


def _compare(
    tmp_path: Path, tiny: Make, together: Together, names: list[str], ways: dict[str, Any] = WAYS
) -> dict[str, dict[str, float]]:
    """Each case in each way that the preflight admits, against one process; gives the worst difference by way."""
    jobs: dict[tuple[str, str], dict[str, Any]] = {}
    for number, name in enumerate(names):
        table = tiny(**CASES[name])
        idemlab.train(table, tmp_path / f"{number}")
        for way, settings in ways.items():
            if settings.get("micro_batches") and _coupled(table):
                continue  # refused, see test_refusals.py
            jobs[name, way] = _job(table, tmp_path / f"{number} {way}", **settings)
            if way in ALONE:
                idemlab.train(jobs[name, way]["table"], jobs[name, way]["out"])
    spread = {key: job for key, job in jobs.items() if key[1] in SPREAD}
    first, second = together(list(spread.values()))
    for key, one, other in zip(spread, first, second, strict=True):
        assert "error" not in one, f"{key}: {one['error']}"
        assert one["print"] is not None
        assert one["print"] == other["print"], f"{key}: the processes have drifted apart"
    worst: dict[str, dict[str, float]] = {}
    for (name, way), job in jobs.items():
        whole, run = idemlab.Run(tmp_path / str(names.index(name))), idemlab.Run(Path(job["out"]))
        assert (run.environment or {})["processes"] == (1 if way in ALONE else 2)
        assert len([entry for entry in run.metrics if entry["split"] == "train"]) == 20
        difference = _difference(whole, run)
        assert max(difference.values()) < TOLERANCE, f"{name}, {way}: {difference}"
        before = worst.setdefault(way, dict.fromkeys(difference, 0.0))
        worst[way] = {key: max(value, before[key]) for key, value in difference.items()}
    return worst


@pytest.mark.long
def test_a_few_enforcers_are_the_same_in_one_process_and_two(tmp_path: Path, tiny: Make, together: Together) -> None:
    ways = {way: settings for way, settings in WAYS.items() if len(settings) < 2}
    print(_compare(tmp_path, tiny, together, FEW, ways))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_enforcer_is_the_same_in_one_process_and_two(tmp_path: Path, tiny: Make, together: Together) -> None:
    print(_compare(tmp_path, tiny, together, list(ENFORCERS)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_source_and_model_is_the_same_in_one_process_and_two(
    tmp_path: Path, tiny: Make, together: Together
) -> None:
    print(_compare(tmp_path, tiny, together, list(OTHERS)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_optimizer_is_the_same_in_one_process_and_two(tmp_path: Path, tiny: Make, together: Together) -> None:
    """Of those that the preflight admits where parameters are shared out."""
    print(_compare(tmp_path, tiny, together, list(OPTIMIZERS)))


@pytest.mark.parametrize("kind", ["enforcer", "source", "model"])
def test_nothing_built_in_is_left_out(tiny: Make, kind: str) -> None:
    built_in = {o.spec.name for o in idemlab.installed().entries(kind) if o.plugin.distribution == "idemlab"}
    named = repr(CASES) + repr(tiny())
    left_out = {name for name in built_in if not re.search(rf"'(name|{kind}|input)': '{name}'", named)}
    assert left_out == ({"data"} if kind == "source" else set())  # the source of every case that names none


@pytest.mark.long
def test_differentiating_twice_is_exact_under_ddp(tmp_path: Path, tiny: Make, together: Together) -> None:
    catalog = runpy.run_path(str(Path(__file__).with_name("penalty.py")))["catalog"]
    table = tiny(enforcer={"name": "penalty"})
    alone = idemlab.train(table, tmp_path / "alone", catalog=catalog)
    (one,), (other,) = together([_job(table, tmp_path / "together")])
    assert "error" not in one
    assert one["print"] == other["print"]
    assert (
        read_weights(alone.weights_file).keys() == read_weights(tmp_path / "together" / "operator.safetensors").keys()
    )
    for name, expected in read_weights(alone.weights_file).items():
        got = read_weights(tmp_path / "together" / "operator.safetensors")[name]
        assert (got - expected).norm() <= TOLERANCE * expected.norm()


@pytest.mark.long
def test_an_enforcer_with_a_state_is_the_same_in_one_process_and_two(
    tmp_path: Path, tiny: Make, together: Together
) -> None:
    """Its copy of the operator is cut among the processes as the operator is, and resumes as it was."""
    catalog = runpy.run_path(str(Path(__file__).with_name("penalty.py")))["catalog"]
    table = tiny(enforcer={"name": "teacher"})
    alone = idemlab.train(table, tmp_path / "alone", catalog=catalog)
    cut = _job(table, tmp_path / "cut", sharded=True)
    jobs = [
        _job(table, tmp_path / "DDP"),
        _job(table, tmp_path / "FSDP2", sharded=True),
        cut | {"stop": 7},
        cut | {"resume": True},
    ]
    first, second = together(jobs)
    assert "Interrupted" in first[2]["error"]
    expected = read_weights(alone.checkpoints / "step-20" / "objective.safetensors")
    assert any(name.startswith("enforcer.teacher.") for name in expected)
    for job, one, other in zip(jobs, first, second, strict=True):
        assert one["print"] == other["print"]
        weights = read_weights(Path(job["out"]) / "checkpoints" / "step-20" / "objective.safetensors")
        assert weights.keys() == expected.keys()
        for name, value in expected.items():
            assert (weights[name] - value).norm() <= TOLERANCE * value.norm(), f"{job['out']}: {name}"


def _losses(run: idemlab.Run) -> torch.Tensor:
    return torch.tensor([entry["loss"] for entry in run.metrics if entry["split"] == "train"])


def test_mixed_precision_trains_on_the_cpu(tmp_path: Path, tiny: Make) -> None:
    table = tiny(training__dtype="float32", enforcer={"name": "ign"})
    full = _losses(idemlab.train(table, tmp_path / "full"))
    half = _losses(idemlab.train(table, tmp_path / "half", overrides=["training.precision=bf16"]))
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)  # bf16 has 8 bits: rounding is 4e-3


@pytest.mark.long
def test_mixed_precision_trains_together(tmp_path: Path, tiny: Make, together: Together) -> None:
    table = tiny(training__precision="bf16", training__dtype="float32", enforcer={"name": "ign"})
    alone = idemlab.train(table, tmp_path / "alone")
    (one,), (other,) = together([_job(table, tmp_path / "together")])
    assert "error" not in one
    assert one["print"] == other["print"]
    # A sum over half a batch rounds differently.
    torch.testing.assert_close(_losses(idemlab.Run(tmp_path / "together")), _losses(alone), rtol=0.02, atol=0)


def test_what_a_launcher_says_of_accumulation_changes_nothing(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny(training__steps=2)
    plain = idemlab.train(table, tmp_path / "plain")
    monkeypatch.setitem(os.environ, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setitem(os.environ, "ACCELERATE_MIXED_PRECISION", "bf16")
    told = idemlab.train(table, tmp_path / "told")
    assert told.weights_file.read_bytes() == plain.weights_file.read_bytes()
