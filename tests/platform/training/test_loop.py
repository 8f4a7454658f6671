"""The loop end to end on tiny data: what a run leaves, that it repeats, resumes, and fails without losing anything."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any, cast

import pytest
import torch
from torch import nn

import idemlab
from idemlab import TensorRows
from idemlab.contracts.step import generator
from idemlab.errors import Interrupted
from idemlab.objective.parts import assemble
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]


def _figures(run: idemlab.Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in run.metrics]


class _StopAt(Watcher):
    """Asks to stop, as Ctrl-C does, once a step is done."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number
        self.messages: list[str] = []

    def stepped(self, step: int) -> None:
        if step == self.step:
            signal.raise_signal(self.number)

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_run_leaves_what_design_says(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    assert {p.name for p in run.path.iterdir()} == {
        ".lock", "experiment.toml", "environment.json", "metrics.jsonl", "checkpoints", "operator.safetensors",
        "certificate.json",
    }  # fmt: skip
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["step-10", "step-12"]
    certificate = run.certificate
    assert certificate is not None
    assert certificate["verdict"] in {v.value for v in idemlab.Verdict}
    assert set(certificate["inputs"]) == {"data", "noise"}
    assert certificate["flops"] > 0
    assert certificate["inputs"]["data"]["figures"]["reconstruction_error"] > 0
    environment = run.environment
    assert environment is not None
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0] or environment["packages"]["torch"]
    assert environment["plan"]["steps"] == 12
    entries = run.metrics
    assert [(e["step"], e["split"]) for e in entries] == [
        (4, "train"), (6, "evaluation"), (8, "train"), (12, "train"), (12, "evaluation"),
    ]  # fmt: skip
    assert {"loss", "reconstruction", "idempotence", "relative", "lr", "time"} <= set(entries[0])
    assert {"data/relative", "noise/relative", "data/rank", "data/reconstruction_error"} <= set(entries[1])


def test_the_resolved_file_runs_again_to_the_same_bits(tmp_path: Path, tiny: Make) -> None:
    first = idemlab.train(tiny(source={"name": "gaussian"}), tmp_path / "a")
    again = idemlab.train(first.experiment_file, tmp_path / "b")
    assert _figures(first) == _figures(again)
    assert first.weights_file.read_bytes() == again.weights_file.read_bytes()
    assert first.experiment.table() == again.experiment.table()


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_run_trains_as_the_loop_of_its_formulas_to_the_same_bits(tmp_path: Path, tiny: Make, weight: float) -> None:
    experiment = idemlab.resolve(tiny(reconstruction__weight=weight))
    parts = assemble(experiment)
    f, data = parts.objective.operator, cast(TensorRows, parts.dataset.train).input
    optimizer = torch.optim.Adam(f.parameters(), lr=experiment.optimizer.lr, fused=True)
    orders = [torch.randperm(64, generator=generator(experiment.training.seed, epoch, "order")) for epoch in range(3)]
    for rows in torch.cat(orders).view(12, 16):
        x = data[rows]
        y = f(x)
        reconstruction, idempotence = (y - x).square().mean(1), (f(y) - y).square().mean(1)
        (weight * reconstruction + idempotence).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = idemlab.load(idemlab.train(experiment, tmp_path / "run").path).state_dict()
    for name, value in f.state_dict().items():
        assert torch.equal(trained[name], value), name


def test_the_loaded_operator_is_the_trained_one(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    operator = idemlab.load(run.path)
    assert not operator.training
    assert run.shape == (4,)
    assert run.range is None
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    error = idemlab.certify(operator, x, rank_points=0).absolute[0]
    assert 0 < error < 10


@pytest.mark.parametrize("stop", [5, 7])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, tiny: Make, stop: int, number: int) -> None:
    table = tiny(source={"name": "gaussian"}, training__batch_size=24)  # does not divide an epoch: order matters
    whole = idemlab.train(table, tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"after step {stop} of 12") as caught:
        idemlab.train(table, tmp_path / "cut", watchers=[_StopAt(stop, number)])
    assert caught.value.exit_code == 130
    assert "--resume" in str(caught.value)
    assert (tmp_path / "cut" / "checkpoints" / f"step-{stop}").is_dir()
    again = _StopAt(0)
    cut = idemlab.train(table, tmp_path / "cut", resume=True, watchers=[again])
    assert again.messages == [f"resuming from step-{stop}"]
    assert cut.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert _figures(cut) == _figures(whole)


@pytest.mark.parametrize("event", ["stepped", "evaluated"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_in_the_last_step_or_after_it_stops_the_run(
    tmp_path: Path, tiny: Make, event: str, number: int
) -> None:
    class Impatient(Watcher):
        def stepped(self, step: int) -> None:
            if (event, step) == ("stepped", 12):
                signal.raise_signal(number)

        def evaluated(self, step: int, evaluation: object) -> None:
            if (event, step) == ("evaluated", 12):
                signal.raise_signal(number)

    whole = idemlab.train(tiny(), tmp_path / "whole")
    with pytest.raises(Interrupted, match="after step 12 of 12; the state is saved"):
        idemlab.train(tiny(), tmp_path / "cut", watchers=[Impatient()])
    assert not (tmp_path / "cut" / "certificate.json").exists()
    cut = idemlab.train(tiny(), tmp_path / "cut", resume=True)
    assert cut.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert _figures(cut) == _figures(whole)


def test_resuming_falls_back_when_the_newest_checkpoint_is_damaged(tmp_path: Path, tiny: Make) -> None:
    whole = idemlab.train(tiny(), tmp_path / "whole")
    with pytest.raises(Interrupted):
        idemlab.train(tiny(), tmp_path / "cut", watchers=[_StopAt(7)])
    (tmp_path / "cut" / "checkpoints" / "step-7" / "state.json").write_text("{}")
    watcher = _StopAt(0)
    cut = idemlab.train(tiny(), tmp_path / "cut", resume=True, watchers=[watcher])
    assert "damaged" in watcher.messages[0]
    assert watcher.messages[1] == "resuming from step-5"
    assert cut.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert _figures(cut) == _figures(whole)  # nothing twice, nothing missing


def test_resuming_without_a_checkpoint_starts_over(tmp_path: Path, tiny: Make) -> None:
    watcher = _StopAt(0)
    run = idemlab.train(tiny(), tmp_path / "new", resume=True, watchers=[watcher])
    assert "nothing to resume" in watcher.messages[0]
    assert "starting from the beginning" in watcher.messages[0]
    assert run.certificate


def test_a_taken_folder_is_refused_before_anything_runs(tmp_path: Path, tiny: Make) -> None:
    idemlab.train(tiny(), tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(idemlab.BadInput, match="holds a run already"):
        idemlab.train(tiny(), tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(idemlab.BadInput, match="is a file"):
        idemlab.train(tiny(), tmp_path / "file")
    with pytest.raises(idemlab.BadInput, match="file' is a file"):
        idemlab.train(tiny(), tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(idemlab.Failure, match="cannot be written"):
        idemlab.train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_bad_input(tmp_path: Path, tiny: Make) -> None:
    with pytest.raises(idemlab.BadInput):
        idemlab.train(tiny(model={"name": "autoencoder"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_not_a_number_stops_with_the_last_good_state_saved(tmp_path: Path, tiny: Make) -> None:
    table = tiny(optimizer={"name": "sgd", "lr": 1e18}, training__log_every=1)
    with pytest.raises(
        idemlab.Failure, match=r"not finite at step (\d+) of 12; the state before it is saved"
    ) as caught:
        idemlab.train(table, tmp_path / "run")
    assert caught.value.exit_code == 1
    run = idemlab.Run.open(tmp_path / "run")
    assert run.metrics, "what was measured before is kept"
    newest = max(int(p.name.removeprefix("step-")) for p in run.checkpoints.iterdir())
    weights = idemlab.runs.weights.read_weights(run.checkpoints / f"step-{newest}" / "objective.safetensors")
    assert all(bool(torch.isfinite(t).all()) for t in weights.values())
    assert run.certificate is None


def test_the_log_measures_the_error_in_every_fifth_step(tmp_path: Path, tiny: Make) -> None:
    settings = {"source": {"name": "gaussian"}, "training__steps": 43, "evaluation__every": 22}
    each = _figures(idemlab.train(tiny(**settings, training__log_every=1), tmp_path / "each"))
    some = _figures(idemlab.train(tiny(**settings, training__log_every=20), tmp_path / "some"))
    steps = {e["step"]: e for e in each if e["split"] == "train"}
    measured = {20: (5, 10, 15, 20), 40: (22, 25, 30, 35, 40), 43: (43,)}  # and where an entry or an evaluation is due
    trained = [e for e in some if e["split"] == "train"]
    assert [e["step"] for e in trained] == [*measured]
    for entry in trained:
        step = entry["step"]
        for key, those in (("relative", measured[step]), ("loss", range((step - 1) // 20 * 20 + 1, step + 1))):
            assert entry[key] == pytest.approx(mean(steps[each][key] for each in those), rel=1e-5)


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, tiny: Make) -> None:
    double = {"training__dtype": "float64"}
    whole = idemlab.train(tiny(**double, source={"name": "gaussian"}), tmp_path / "a")
    cut = idemlab.train(tiny(**double, source={"name": "gaussian"}, training__micro_batches=4), tmp_path / "b")
    for a, b in zip(_figures(whole), _figures(cut), strict=True):
        for key in ("loss", "data/relative"):
            if key in a:
                assert a[key] == pytest.approx(b[key], rel=1e-9)


def test_a_budget_of_flops_becomes_steps(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "a")
    environment = run.environment
    assert environment is not None
    per_step = environment["plan"]["flops_per_step"]
    table = tiny(enforcer={"name": "none"})
    del table["training"]["steps"]
    table["training"]["flops"] = float(12 * per_step)
    control = idemlab.train(table, tmp_path / "b")
    assert control.certificate is not None
    assert run.certificate is not None
    assert control.certificate["steps"] > 12
    assert control.certificate["flops"] == pytest.approx(run.certificate["flops"], rel=0.1)


def test_weight_projection_runs_without_any_loss(tmp_path: Path, tiny: Make) -> None:
    table = tiny(
        model={"name": "linear", "init": "spectrum"},
        enforcer={"name": "purification"},
        reconstruction={"weight": 0.0},
        optimizer={"name": "sgd", "lr": 0.0},
        training={"steps": 25, "batch_size": 16, "log_every": 1, "dtype": "float64"},
        evaluation={"every": 50, "rank_points": 1},
    )
    run = idemlab.train(table, tmp_path / "run")
    left = [e["projection_residual"] for e in run.metrics if e["split"] == "train"]
    assert left[-1] < 1e-13
    assert left == sorted(left, reverse=True)
    assert run.certificate is not None
    assert run.certificate["verdict"] == "genuine"
    assert run.certificate["inputs"]["noise"]["rank"] == 2
    assert "the rounding floor" in run.certificate["sentence"]


def test_optimizers_schedules_and_clipping(tmp_path: Path, tiny: Make) -> None:
    table = tiny(
        optimizer={"name": "muon", "lr": 0.01, "schedule": "cosine", "warmup": 0.5, "final": 0.1, "clip": 0.1},
    )
    run = idemlab.train(table, tmp_path / "run")
    rates = [e["lr"] for e in run.metrics if e["split"] == "train"]
    assert rates[0] < rates[1]
    assert rates[2] < rates[1]


def test_bf16_and_compile_run(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(training__precision="bf16"), tmp_path / "bf16")
    assert run.certificate
    full = idemlab.train(tiny(), tmp_path / "full")
    assert _figures(run)[0]["loss"] == pytest.approx(_figures(full)[0]["loss"], rel=0.05)


def test_a_watcher_hears_everything_in_order(tmp_path: Path, tiny: Make) -> None:
    heard: list[str] = []

    class Listening(Watcher):
        def started(self, experiment: object, plan: object, first_step: int) -> None:
            heard.append(f"started {first_step}")

        def logged(self, step: int, figures: Mapping[str, float]) -> None:
            heard.append(f"logged {step}")

        def evaluated(self, step: int, evaluation: object) -> None:
            heard.append(f"evaluated {step}")

    idemlab.train(tiny(), tmp_path / "run", watchers=[Listening()])
    assert heard == ["started 0", "logged 4", "evaluated 6", "logged 8", "logged 12", "evaluated 12"]


def test_metrics_cut_short_by_a_crash_are_read(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    count = len(run.metrics)
    with run.metrics_file.open("a") as file:
        file.write('{"step": 13, "spl')
    assert len(run.metrics) == count


def test_a_folder_without_a_run_is_bad_input(tmp_path: Path, tiny: Make) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(idemlab.BadInput, match="holds no run"):
        idemlab.Run.open(tmp_path / "empty")
    with pytest.raises(Interrupted):
        idemlab.train(tiny(), tmp_path / "run", watchers=[_StopAt(5)])
    with pytest.raises(idemlab.BadInput, match="no trained operator yet"):
        idemlab.load(tmp_path / "run")


def test_damaged_files_of_a_run_are_told(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    run.certificate_file.write_text("{")
    with pytest.raises(idemlab.Failure, match="damaged"):
        _ = run.certificate
    content = run.experiment_file.read_text().replace("width = 8", "width = 9")
    run.experiment_file.write_text(content)
    with pytest.raises(idemlab.Failure, match="do not fit model 'mlp'"):
        idemlab.load(run.path)
    run.weights_file.write_bytes(b"x")
    with pytest.raises(idemlab.Failure, match="cannot read the weights"):
        idemlab.load(run.path)


def test_metrics_are_json_lines(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    for line in run.metrics_file.read_text().splitlines():
        assert "seconds" in json.loads(line)["time"]


class _Tiny(nn.Module):
    """f(x) = x / 100: nearly constant, and not idempotent."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 4, bias=False)
        self.map.weight.data.copy_(torch.eye(4) / 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.map(x)
        return y


def _collapsing(tiny: Make, **changes: Any) -> dict[str, Any]:
    return tiny(enforcer="gradient", optimizer={"name": "sgd", "lr": 0.0}, evaluation__every=4, **changes)


def test_a_collapse_ends_the_run_where_that_is_asked_for(
    tmp_path: Path, tiny: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(idemlab.Failure, match=r"collapsed to a constant: .* after 4 of 12 steps; .* saved as step-4"):
        idemlab.train(_collapsing(tiny, training__stop_on_collapse=True), tmp_path / "run", model=_Tiny())
    run = idemlab.Run(tmp_path / "run")
    assert [entry["step"] for entry in run.metrics if entry["split"] == "evaluation"] == [4]
    assert (run.checkpoints / "step-4").is_dir()
    assert "collapse: the outputs are nearly the same for all inputs, their spread is 1 %" in capsys.readouterr().err


def test_otherwise_it_is_told_and_the_run_goes_on(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(_collapsing(tiny), tmp_path / "run", model=_Tiny(), progress=False)
    assert run.certificate is not None
    assert run.certificate["verdict"] == "constant"
    assert all(abs(entry["spread"] - 0.01) < 1e-3 for entry in run.metrics if entry["split"] == "train")
