"""`bench` and `profile`."""

from __future__ import annotations

import json

import pytest

from idemlab.benchmarks import benchmark, profiling


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_GEMM", {"cpu": 8})
    monkeypatch.setattr(benchmark, "_WARM_UP", 1)


SMALL = ("--model", "mlp", "--set", "model.width=8", "--shape", "4", "--batch", "4", "--steps", "2")


@pytest.mark.long
def test_bench_prints_a_table(idemlab, here):
    result = idemlab("bench", "cubic", "none", *SMALL, "--out", "a.svg")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mlp with ")
    assert [line.split()[0] for line in lines[3:6]] == ["cubic", "by", "none"]
    assert result.stdout.endswith("Written: a.svg\n")
    assert (here / "a.svg").is_file()


def test_bench_as_json_has_the_four_built_in_enforcers_by_default(idemlab):
    shown = json.loads(idemlab("bench", *SMALL, "--json").stdout)
    costs = {row["enforcer"]: row["cost_f"] for row in shown["rows"]}
    assert list(costs) == ["gradient", "cubic", "relative", "ign"]
    assert costs["ign"] <= 9
    assert costs["cubic"] <= 5
    assert costs["gradient"] <= 6


def test_bench_in_markdown_of_a_table_on_the_command_line(idemlab):
    result = idemlab("bench", '{ name = "ign", tightness = 0 }', *SMALL, "--markdown")
    assert "| ign (tightness = 0) | " in result.stdout
    assert "| &emsp;frozen copy | " in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["gradiant"], 2, "did you mean: gradient"),
        (["cubic", "--steps", "0"], 2, "steps cannot be 0"),
        (["cubic", "--device", "cuda"], 2, "leave --device out"),
        (["cubic", "--device", "tpu"], 2, "choices: cpu, cuda"),
        (["cubic", "--shape", "1,x"], 2, "'1,x' is not the shape"),
        (["cubic", "--model", "unet", "--shape", "1,7,7"], 2, "7x7"),
        (["cubic", "--model", "mlp", "--set", "model.width=100000000"], 1, "a smaller --batch, or a smaller model"),
        (["cubic", "--json", "--markdown"], 2, "exclude each other"),
        (["cubic", "--set", "training.batch_size=2"], 2, "next: give --batch"),
        (["{ name = "], 2, "cannot be read as a table"),
        (["{ weight = 1 }"], 2, "has no name"),
        (["cubic", "--out", "a.pdf"], 2, "ends in .png or .svg"),
    ],
)
def test_bench_refuses_on_one_screen(idemlab, words, code, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = idemlab("bench", *words)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) <= 6


def test_profile_prints_where_the_time_goes(idemlab):
    result = idemlab("profile", "tiny.toml", "--steps", "3")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines()[1:] if line]
    for line, phase in zip(lines, profiling._MEANING, strict=False):
        assert line.startswith(f"{phase} ")
    assert "A step takes" in result.stdout
    assert "estimate for all 6" in result.stdout


def test_profile_as_json(idemlab, here, monkeypatch):
    monkeypatch.setattr("idemlab.reports.page.write_report", lambda run: run)
    shown = json.loads(idemlab("profile", "tiny.toml", "--set", "training.steps=50", "--steps", "2", "--json").stdout)
    assert shown["run_steps"] == 50
    assert sum(phase["share"] for phase in shown["phases"]) == pytest.approx(1)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tini.toml"], "tini.toml"),
        (["tiny.toml", "--steps", "0"], "--steps"),
        (["tiny.toml", "--set", "x"], "override"),
    ],
)
def test_profile_refuses_bad_input(idemlab, words, said):
    result = idemlab("profile", *words)
    assert result.exit_code == 2
    assert said in result.stderr
