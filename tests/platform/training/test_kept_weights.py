"""What a run keeps beside its last weights: their average, the best ones, and the patience that ends it early."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import idemlab
from idemlab.errors import BadInput, Interrupted
from idemlab.objective.engines import Single
from idemlab.training.average import Average
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]

ALL: dict[str, Any] = {
    "source": {"name": "gaussian"},
    "training__ema": 0.9,
    "training__best": "noise/relative",
    "training__stop": {"metric": "data/relative", "patience": 2, "margin": 1.0},
    "training__steps": 40,
    "evaluation__every": 3,
}
"""A run that keeps everything, and stops early since no evaluation improves so much."""


class _StopAfter(Watcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, step: int) -> None:
        if step == self.step:
            raise Interrupted("enough")


def _content(run: idemlab.Run) -> dict[str, Any]:
    found: dict[str, Any] = {
        path.name: path.read_bytes() for path in run.path.iterdir() if path.suffix in (".safetensors", ".json")
    }
    found.pop("environment.json")
    return found | {"log": [{k: v for k, v in entry.items() if k != "time"} for entry in run.metrics]}


def test_the_average_is_that_of_the_weights_after_each_step() -> None:
    layer = torch.nn.Linear(2, 2).double()
    layer.bias.requires_grad_(False)
    average, expected = Average(0.5, layer, Single()), layer.weight.detach().clone()
    bias = layer.bias.clone()
    for done in range(1, 30):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 2))
        average.follow(done)
        decay = min(0.5, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(average.weights()["weight"], expected)
    assert torch.equal(average.weights()["bias"], bias)
    assert set(average.state()) == {"weight"}


def test_a_run_keeps_its_average_and_its_best_weights(tmp_path: Path, tiny: Make) -> None:
    plain = idemlab.train(tiny(), tmp_path / "plain", progress=False)
    table = tiny(training__ema=0.9, training__best={"metric": "data/reconstruction_error", "maximize": True})
    run = idemlab.train(table, tmp_path / "run", progress=False)
    assert run.weights_file.read_bytes() == plain.weights_file.read_bytes(), "keeping more changes nothing"
    certificates = run.certificates
    assert list(certificates) == ["last", "ema", "best"]
    assert list(plain.certificates) == ["last"]
    assert [certificates[which]["steps"] for which in ("last", "ema", "best")] == [12, 12, 6]
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    outputs = [idemlab.load(run.path, which=which)(x) for which in ("last", "ema", "best")]  # type: ignore[arg-type]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    by_split = {entry["split"]: entry for entry in run.metrics}  # the last entry of each
    for which, split in (("last", "evaluation"), ("ema", "ema")):
        measured = certificates[which]["inputs"]["data"]["relative"][0]  # type: ignore[index]
        assert measured == by_split[split]["data/relative"]


def test_the_best_is_the_best_of_all_evaluations(tmp_path: Path, tiny: Make) -> None:
    table = tiny(training__best="noise/relative", training__steps=20, evaluation__every=2, optimizer__lr=0.1)
    run = idemlab.train(table, tmp_path / "run", progress=False)
    by_step = {e["step"]: e["noise/relative"] for e in run.metrics if e["split"] == "evaluation"}
    best = run.certificates["best"]
    assert best["steps"] == min(by_step, key=by_step.__getitem__)
    assert best["inputs"]["noise"]["relative"][0] == pytest.approx(min(by_step.values()), rel=1e-6)
    assert 0 < best["steps"] < 20, "a test that shows nothing otherwise"


def test_a_run_that_no_longer_improves_ends_early(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(**ALL), tmp_path / "run", progress=False)
    certificate = run.certificate
    assert certificate is not None
    assert certificate["steps"] == 9  # one evaluation that counts, then two without an improvement of 1
    assert (
        "stopped early, after step 9 of 40: data/relative had not improved for 2 evaluations" in certificate["sentence"]
    )
    steps = [(entry["step"], entry["split"]) for entry in run.metrics]
    assert steps[-5:] == [(9, "evaluation"), (9, "ema"), (9, "train"), (9, "evaluation"), (9, "ema")]
    before = _content(run)
    again = idemlab.train(tiny(**ALL), run.path, resume=True, progress=False)
    assert _content(again) == before, "resuming it makes no further step"


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bits(tmp_path: Path, tiny: Make) -> None:
    table = tiny(**ALL, training__batch_size=24)
    whole = _content(idemlab.train(table, tmp_path / "whole", progress=False))
    draw = random.Random(0)
    out = tmp_path / "cut"
    done = 0
    while done < 9:
        done = min(done + draw.randrange(1, 4), 9)
        stop = Interrupted if done < 9 else ()
        try:
            idemlab.train(table, out, resume=True, progress=False, watchers=[_StopAfter(done)])
        except Interrupted:
            assert stop
    assert _content(idemlab.Run(out)) == whole


@pytest.mark.long
def test_with_more_patience_a_stopped_run_goes_on(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(**ALL), tmp_path / "run", progress=False)
    more = ALL | {"training__stop": {"metric": "data/relative", "patience": 4, "margin": 1.0}}
    again = idemlab.train(tiny(**more), run.path, resume=True, allow_changes=True, progress=False)
    assert again.certificate is not None
    assert again.certificate["steps"] == 15


def test_the_best_weights_on_disk_follow_the_checkpoint(tmp_path: Path, tiny: Make) -> None:
    """A run that was killed after a better evaluation resumes from before it."""
    table = tiny(training__best="noise/relative", evaluation__every=3)
    with pytest.raises(Interrupted):
        idemlab.train(table, tmp_path / "run", progress=False, watchers=[_StopAfter(2)])
    run = idemlab.Run(tmp_path / "run")
    run.weights_of("best").write_bytes(b"of a later step")
    with pytest.raises(Interrupted):
        idemlab.train(table, run.path, resume=True, progress=False, watchers=[_StopAfter(3)])
    assert run.sample_of("best")["step"] == 3
    with pytest.raises(Interrupted):
        idemlab.train(table, run.path, resume=True, progress=False, watchers=[_StopAfter(4)])
    assert run.sample_of("best")["step"] == 3
    assert idemlab.load(run, which="best") is not None


def test_a_metric_that_is_never_usable_gives_no_best_and_ends_the_run(tmp_path: Path, tiny: Make) -> None:
    class Hearing(Watcher):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def message(self, text: str) -> None:
            self.heard.append(text)

    wide = {"metric": "noise/relative", "minimum_spread": 1.0}  # as wide as its inputs, which this one never is
    table, watcher = tiny(training__best=wide, training__stop=wide | {"patience": 1}), Hearing()
    run = idemlab.train(table, tmp_path / "run", progress=False, watchers=[watcher])
    assert run.certificate is not None
    assert run.certificate["steps"] == 6
    assert list(run.certificates) == ["last"]
    assert "no weights are kept as the best: no evaluation had a usable noise/relative" in watcher.heard
    with pytest.raises(BadInput, match="no evaluation had a usable noise/relative"):
        idemlab.load(run, which="best")


@pytest.mark.parametrize(
    ("changes", "what", "nearest"),
    [
        ({"training__best": "nois/relative"}, "no evaluation measures 'nois/relative'", "noise/relative"),
        ({"training__stop": "data/reconstruction_eror"}, "no evaluation measures", "data/reconstruction_error"),
        ({"training__best": "relativ"}, "no evaluation measures 'relativ'", "relative"),
        ({"training__ema": 1.0}, "'ema' cannot be 1.0", None),
        ({"training__best": {"metric": "relative", "maximise": True}}, "no key 'best.maximise'", "maximize"),
        ({"training__stop": {"patience": 2}}, "[training] lacks the key 'stop.metric'", None),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    tmp_path: Path, tiny: Make, changes: dict[str, Any], what: str, nearest: str | None
) -> None:
    with pytest.raises(BadInput) as caught:
        idemlab.train(tiny(**changes), tmp_path / "run", progress=False)
    assert what in caught.value.what
    assert caught.value.nearest == nearest
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("which", "what"),
    [("ema", "keeps no average"), ("best", "keeps no best weights"), ("bset", "a run has no weights 'bset'")],
)
def test_weights_that_a_run_did_not_keep_are_refused(tmp_path: Path, tiny: Make, which: Any, what: str) -> None:
    run = idemlab.train(tiny(training__steps=1), tmp_path / "run", progress=False)
    with pytest.raises(BadInput, match=what):
        idemlab.load(run, which=which)


def test_epochs_are_whole_passes_over_the_training_set(tmp_path: Path, tiny: Make) -> None:
    table = tiny(training={"epochs": 3, "batch_size": 24, "log_every": 4})  # 64 samples hold two batches
    run = idemlab.train(table, tmp_path / "run", progress=False)
    assert run.certificate is not None
    assert run.certificate["steps"] == 6
    changed = idemlab.resolve(run.experiment_file, ["training.steps=5"]).training
    assert (changed.steps, changed.epochs) == (5, None), "one length replaces another"


def test_an_override_switches_them_on_and_off(tiny: Make) -> None:
    table = tiny(training__best={"metric": "data/reconstruction_error", "maximize": True})
    other = idemlab.resolve(table, ["training.best=relative", "training.stop.metric=relative"]).training
    assert other.best is not None
    assert other.stop is not None
    assert (other.best.metric, other.best.maximize, other.stop.patience) == ("relative", False, 5)
    assert idemlab.resolve(table, ["training.best="]).training.best is None
