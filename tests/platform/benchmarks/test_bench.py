"""`bench`: what is counted, what is compared, what is refused before any work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import idemlab
from idemlab import BadInput, Enforcement, Enforcer, EnforcerSpec, Failure, bench
from idemlab.benchmarks import asked, benchmark, memory
from idemlab.benchmarks.saving import save

TINY: dict[str, Any] = {"model": {"name": "mlp", "width": 8, "depth": 2}, "shape": (8,), "batch": 4, "steps": 2}


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_GEMM", {"cpu": 8})


@pytest.fixture(scope="module")
def result() -> idemlab.Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "_GEMM", {"cpu": 8})
        return bench(**TINY)


def test_each_enforcer_costs_what_its_page_says(result: idemlab.Benchmark) -> None:
    rows = {row.enforcer: row for row in result.rows}
    # The first layer saves a third of its backward pass where its input needs no gradient.
    saved = 1 / 3
    assert {name: row.cost_f for name, row in rows.items()} == pytest.approx(
        {"gradient": 6 - saved, "cubic": 5 - saved, "relative": 6 - saved, "ign": 9 - 2 * saved}
    )
    ways = {way.way: way.cost_f for way in rows["ign"].by_hand}
    assert ways == pytest.approx({"copy with live parameters": 12 - 3 * saved, "frozen copy": 11 - 3 * saved})
    assert {name: row.source for name, row in rows.items()} == {
        **dict.fromkeys(["gradient", "cubic", "relative"], "data"),
        "ign": "gaussian",
    }
    assert result.forward_flops == 2 * 4 * 3 * 8 * 8
    assert result.parameters == 3 * (64 + 8)


def test_times_memory_and_shares_fit_together(result: idemlab.Benchmark) -> None:
    weights = 4 * result.parameters
    for row in result.rows:
        for timing in (row, *row.by_hand):
            assert 0 < timing.spread[0] <= timing.milliseconds <= timing.spread[1]
            assert timing.samples_per_second == pytest.approx(4 / timing.milliseconds * 1000)
            rate = timing.cost_f * result.forward_flops / timing.milliseconds * 1000
            assert timing.gemm_share == pytest.approx(rate / (1e9 * result.gemm["gflops"]))
            assert timing.peak_bytes > 4 * weights  # weights, gradients, two moments
        for way in row.by_hand:
            assert way.peak_ratio == pytest.approx(row.peak_bytes / way.peak_bytes)
            assert way.ratio > 0
            assert way.processor_ratio > 0
    live, frozen = result.rows[-1].by_hand
    assert live.peak_bytes > frozen.peak_bytes
    assert frozen.peak_bytes > result.rows[-1].peak_bytes


def test_the_result_is_a_table_and_plain_values(result: idemlab.Benchmark) -> None:
    plain = json.loads(json.dumps(result.as_dict()))
    assert [row["enforcer"] for row in plain["rows"]] == ["gradient", "cubic", "relative", "ign"]
    assert plain["model"]["width"] == 8
    labels = [row[0] for row in result.table]
    assert labels[:3] == ["gradient", "  by hand", "cubic"]
    assert labels[-3:] == ["ign", "  copy with live parameters", "  frozen copy"]
    head, rule, *rows = [line for line in result.to_markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in (head, rule, *rows)} == {10}
    assert len(rows) == len(labels)
    assert "Medians of 2 steps" in result.to_markdown()


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("new/a.md", b"mlp"), ("a.json", b"{")]
)
def test_the_result_is_written(name: str, start: bytes, tmp_path: Path) -> None:
    bench(["cubic"], **TINY, out=tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
@pytest.mark.long
def test_a_figure_of_the_same_result_has_the_same_bytes(name: str, result: idemlab.Benchmark, tmp_path: Path) -> None:
    for folder in "ab":
        save(result, tmp_path / folder / name)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("value", [None, "false"])
def test_the_environment_is_left_as_it_was(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    else:
        monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    bench(["none"], **TINY, device="cpu")
    assert os.environ.get("ACCELERATE_USE_CPU") == value


def test_what_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot be written"):
        bench(["none"], **TINY, out=tmp_path / "file" / "a.md")


def test_arguments_overrides_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr(benchmark, "_wait", lambda device: used.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    chosen = ["ign", {"name": "ign", "routing": "surrogate"}, {"name": "hybrid", "enforcers": ["cubic"]}]
    made = bench(chosen, **TINY, threads=2, overrides=["optimizer.name=muon", "source.name=fourier", "model.width=4"])
    assert set(used) == {2}
    assert torch.get_num_threads() == before
    assert [row.enforcer for row in made.rows] == ["ign", "ign (routing = surrogate)", "hybrid (enforcers = ['cubic'])"]
    assert {row.source for row in made.rows} == {"fourier"}
    assert not any(row.by_hand for row in made.rows), "by hand there are only samples and noise"
    assert made.model["width"] == 4


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enforcers", "changes", "what"),
    [
        (["gradiant"], {}, "there is no enforcer 'gradiant'"),
        ([], {}, "no enforcer to time"),
        (["cubic", "cubic"], {}, "given twice"),
        (["cubic"], {"model": "mpl"}, "there is no model 'mpl'"),
        (["cubic"], {"model": "unet", "shape": (1, 7, 7)}, "7x7"),
        (["cubic"], {"model": "conv"}, "conv"),
        (["purification"], {}, "linear maps only"),
        (["cubic"], {"steps": 0}, "steps cannot be 0"),
        (["cubic"], {"batch": -1}, "batch cannot be -1"),
        (["cubic"], {"threads": 0}, "threads cannot be 0"),
        (["cubic"], {"shape": (0, 4)}, "a side of the shape cannot be 0"),
        (["cubic"], {"shape": 4}, "shape cannot be 4"),
        (3, {}, "enforcers cannot be 3"),
        (["cubic"], {"catalog": 3}, "a catalog cannot be 3"),
        ("gradiant", {}, "there is no enforcer 'gradiant'"),
        ({"name": "cubic", "wait": 3}, {}, "no argument 'wait'"),
        (["cubic"], {"overrides": "model.wdith=3"}, "no argument 'wdith'"),
        (["cubic"], {"device": "cuda"}, "CUDA is not there"),
        (["cubic"], {"device": "tpu"}, "there is no device 'tpu'"),
        (["cubic"], {"out": "a.pdf"}, "not a file name for a benchmark"),
        (["cubic"], {"overrides": ["training.batch_size=3"]}, "does not take"),
        (["cubic"], {"overrides": ["dataset.shape=[3]"]}, "does not take"),
        (["cubic"], {"overrides": ["training.epochs=1"]}, "does not take"),
        (["cubic"], {"overrides": ["training={ steps = 3 }"]}, "does not take"),
        (["cubic"], {"overrides": ["enforcer.name=gradient"]}, "does not take"),
        (["cubic"], {"overrides": ["enforcer=gradient"]}, "does not take"),
        (["cubic"], {"overrides": ["evaluation.every=3"]}, "evaluates nothing"),
        (["cubic"], {"threads": 10**6}, "threads cannot be 1000000"),
    ],
)
def test_bad_input_is_refused_with_a_way_out(
    enforcers: list[str], changes: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match=what) as refused:
        bench(enforcers, **TINY | changes)
    assert refused.value.next_step or refused.value.expected or refused.value.choices


def test_a_file_that_cannot_be_written_is_refused_before_the_benchmark(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="the benchmark cannot be written") as refused:
        bench(["nothing of this name"], **TINY | {"out": tmp_path / "file" / "a.json"})
    assert refused.value.next_step == "choose another file"


def test_threads_are_at_most_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "own_cores", lambda: [3])
    with pytest.raises(BadInput, match="threads cannot be 2 on 1 core"):
        bench(["cubic"], **TINY | {"threads": 2})


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="2 processes were launched"):
        bench(["cubic"], **TINY)


@pytest.mark.parametrize(
    ("changes", "much"),
    [
        ({"model": {"name": "mlp", "width": 10**7}}, r"about [\d,]+ GB"),
        ({"model": {"name": "mlp", "width": 10**12}}, "more than can be addressed"),
        ({"batch": 10**12}, r"about [\d,]+ GB"),
    ],
)
def test_what_the_memory_cannot_hold_is_refused_before_it_is_allocated(changes: dict[str, Any], much: str) -> None:
    with pytest.raises(Failure, match=much) as failed:
        bench(["cubic"], **TINY | changes)
    assert "GB are free on cpu" in failed.value.what
    assert "smaller" in str(failed.value.next_step)


def test_a_machine_that_does_not_tell_its_memory_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert bench(["none"], **TINY).rows


def test_a_failing_step_names_the_enforcer_and_no_files() -> None:
    class Infinite(Enforcer):
        calls = 0

        def forward(self, orbit, step):
            Infinite.calls += 1
            return Enforcement(loss=orbit.output.flatten(1).sum(1) * (float("inf") if Infinite.calls > 2 else 1))

    def infinite() -> Any:
        return Infinite()

    catalog = idemlab.installed().including(EnforcerSpec(name="infinite", factory=infinite, summary="x"))
    with pytest.raises(Failure) as failed:
        bench(["infinite"], **TINY, catalog=catalog)
    assert failed.value.what.startswith("infinite: the loss is not finite at step")
    assert "saved" not in failed.value.what
    assert failed.value.where is None


def raises(*_: Any) -> Any:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    "by_hand", [raises, lambda: {"way": raises}, lambda: {"way": lambda f: raises}], ids=["ways", "make", "loss"]
)
def test_the_loop_by_hand_of_a_plugin_is_blamed_on_it(by_hand: Any) -> None:
    def broken() -> Any:
        return Enforcer()

    spec = EnforcerSpec(name="broken", factory=broken, summary="x", by_hand=by_hand)
    with pytest.raises(Failure, match="by_hand raised RuntimeError: no"):
        bench(["broken"], **TINY, catalog=idemlab.installed().including(spec))
