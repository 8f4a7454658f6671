"""`run`: folders, what is printed, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from idemlab.cli import console, running
from idemlab.watching.progress import watching
from idemlab.wording import number

QUICK = ["--set", "training.steps=4", "--set", "evaluation.rank_points=1"]


def plain(text: str) -> str:
    """Without colours and other control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_run_ends_with_certificate_verdict_and_report(idemlab, here):
    result = idemlab("run", "tiny.toml")
    assert result.exit_code == 0
    certificate = json.loads((here / "runs/tiny/certificate.json").read_text())
    out = result.stdout
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("data", "noise"))] == ["data", "noise"]
    row = next(line for line in out.splitlines() if line.startswith("noise"))
    for error in certificate["inputs"]["noise"]["relative"]:
        assert f"{error:.3g}" in row
    assert "/ 4" in row
    assert row.endswith(certificate["verdict"])
    assert "reconstruction error" in out
    for rule, value in certificate["inputs"]["data"]["thresholds"].items():
        assert f"{rule} {value:g}" in out
    assert f"Verdict: {certificate['verdict']}. {certificate['sentence']}" in out
    assert out.endswith("Report:  runs/tiny/report.html\n")
    assert (here / "runs/tiny/report.html").is_file()


def test_progress_is_plain_lines_on_stderr(idemlab):
    lines = idemlab("run", "tiny.toml").stderr.splitlines()
    assert lines[0].startswith("tiny: mlp on gaussian, enforcer gradient; ")
    assert "6 steps on cpu" in lines[0]
    pattern = re.compile(r"step (\d)/6  loss \S+  error \S+  rank (\S+)  \S+ steps/s  .* left")
    logged = [match for line in lines if (match := pattern.match(line))]
    assert [match[1] for match in logged] == ["2", "4", "6"]
    assert logged[0][2] == number(None)
    assert logged[2][2].endswith("/4")
    assert [line[:8] for line in lines if "data: error" in line] == ["step 4/6", "step 6/6"]


def test_with_json_stdout_is_the_certificate_and_nothing_else(idemlab, here):
    shown = json.loads(idemlab("run", "tiny.toml", "--json", *QUICK).stdout)
    assert shown["run"] == "runs/tiny"
    assert shown["report"] == "runs/tiny/report.html"
    assert shown["inputs"]["data"]["points"] == 32


def test_an_enforcer_that_does_not_look_ahead_shows_the_error_of_the_last_evaluation(idemlab, here):
    lines = idemlab("run", "tiny.toml", "--set", "enforcer.name=none").stderr.splitlines()
    errors = [match[1] for line in lines if (match := re.search(r"loss \S+  error (\S+) ", line))]
    assert errors[:2] == [number(None)] * 2
    entries = [json.loads(line) for line in (here / "runs/tiny/metrics.jsonl").read_text().splitlines()]
    evaluated = next(entry for entry in entries if entry["split"] == "evaluation")
    assert errors[2] == f"{max(evaluated['data/relative'], evaluated['noise/relative']):.3g}"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("enforcer", ["gradient", "none"])
def test_progress_is_a_bar_on_a_terminal(idemlab, monkeypatch, enforcer):
    monkeypatch.setattr("idemlab.watching.progress.REDRAW", 0.0)
    result = idemlab("run", "tiny.toml", "--set", f"enforcer.name={enforcer}")
    assert result.exit_code == 0
    shown = plain(result.stderr)
    assert "raised" not in shown, "the bar was left out"
    assert f"mlp on gaussian, enforcer {enforcer}; " in shown
    assert re.search(r"tiny .*4/6 .* steps/s loss \d\S* error \d\S* rank \d/4", shown)
    assert re.search(r"certifying .*6/6", shown)
    assert "\x1b[2K" in result.stderr  # the bar is taken away
    assert "Verdict: " in plain(result.stdout)


@pytest.mark.long
@pytest.mark.usefixtures("terminal")
def test_messages_appear_above_the_bar(idemlab):
    idemlab("run", "tiny.toml")
    result = idemlab("run", "tiny.toml", "--resume")
    assert "resuming runs/tiny" in plain(result.stderr)
    assert "resuming from step-6" in plain(result.stderr)


def test_only_the_main_process_prints(idemlab, here, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = idemlab("run", "tiny.toml", *QUICK)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (here / "runs/tiny/certificate.json").is_file()
    assert not (here / "runs/tiny/report.html").exists()


def test_another_process_tells_its_errors_on_one_line(idemlab, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = idemlab("run", "missing.toml")
    assert (result.exit_code, result.stderr) == (2, "error in process 1: there is no file 'missing.toml'\n")


def test_another_process_leaves_it_to_the_main_one_to_say_that_it_was_stopped(idemlab, trained, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = idemlab("run", "tiny.toml")
    assert (result.exit_code, result.stderr) == (130, "")


@pytest.mark.usefixtures("terminal")
def test_another_process_is_silent_on_a_terminal_too(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "3")
    with console.loading(), watching() as watcher:
        watcher.message("something")
    assert capsys.readouterr() == ("", "")


def test_a_reader_of_the_progress_that_goes_away_does_not_stop_the_run(monkeypatch):
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with watching() as watcher:
        watcher.message("nobody reads this")


# -- folders ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that `run` chose, with nothing trained in them."""
    folders: list[Path] = []

    def chosen(experiment: object, out: Path, *, resume: bool, allow_changes: bool) -> None:
        folders.append(Path(out))
        raise KeyboardInterrupt

    monkeypatch.setattr("idemlab.training.loop.train", chosen)
    return folders


def make_run(folder: Path, age: int = 0) -> None:
    """A folder that looks like a run that began `age` seconds ago."""
    import os
    import time

    folder.mkdir(parents=True)
    for name in ("environment.json", "experiment.toml"):
        (folder / name).write_text(Path("tiny.toml").read_text() if name == "experiment.toml" else "{}")
        os.utime(folder / name, (time.time() - age,) * 2)


def test_a_taken_folder_is_passed_over(idemlab, trained):
    idemlab("run", "tiny.toml")
    make_run(Path("runs/tiny"))
    idemlab("run", "tiny.toml")
    make_run(Path("runs/tiny-2"))
    idemlab("run", "tiny.toml")
    assert trained == [Path("runs/tiny"), Path("runs/tiny-2"), Path("runs/tiny-3")]


def test_resume_takes_the_newest_run_of_that_name(idemlab, trained):
    make_run(Path("runs/tiny"), age=300)
    make_run(Path("runs/tiny-2"), age=100)
    make_run(Path("runs/tiny-3"), age=200)
    make_run(Path("runs/tiny-wide"), age=1)
    result = idemlab("run", "tiny.toml", "--resume")
    assert trained == [Path("runs/tiny-2")]
    assert "resuming runs/tiny-2" in result.stderr


@pytest.mark.parametrize("reference", ["elsewhere/mine", "elsewhere/mine/experiment.toml"])
def test_a_run_folder_is_an_experiment_too(idemlab, trained, reference):
    make_run(Path("elsewhere/mine"))
    idemlab("run", reference)
    idemlab("run", reference, "--resume")
    idemlab("run", reference, "--out", "other")
    assert trained == [Path("runs/mine"), Path("elsewhere/mine"), Path("other")]


def test_an_experiment_file_called_experiment_is_no_run(idemlab, here, trained):
    (here / "experiment.toml").write_text((here / "tiny.toml").read_text())
    idemlab("run", "experiment.toml")
    assert trained == [Path("runs/experiment")]


def test_a_folder_that_holds_a_run_is_refused(idemlab, here):
    make_run(here / "mine")
    result = idemlab("run", "tiny.toml", "--out", "mine")
    assert result.exit_code == 2
    assert "'mine' holds a run already" in result.stderr
    assert "--resume" in result.stderr


def test_two_runs_that_start_at_once_never_share_a_folder(idemlab, here, monkeypatch):
    """The second finds the folder taken only after its preflight."""
    from idemlab.training.loop import preflight

    def slow(*arguments: object, **keywords: object) -> object:
        make_run(here / "runs/tiny")
        return preflight(*arguments, **keywords)

    monkeypatch.setattr("idemlab.training.loop.preflight", slow)
    result = idemlab("run", "tiny.toml", *QUICK)
    assert result.exit_code == 2
    assert "'runs/tiny' holds a run already" in result.stderr
    assert not (here / "runs/tiny/checkpoints").exists()


@pytest.mark.long
def test_resuming_another_experiment_is_refused(idemlab):
    assert idemlab("run", "tiny.toml", *QUICK).exit_code == 0
    result = idemlab("run", "tiny.toml", "--resume", "--set", "model.width=9")
    assert result.exit_code == 2
    assert "model.width" in result.stderr
    assert "--allow-changes" in result.stderr


@pytest.mark.long
def test_another_experiment_is_resumed_if_told(idemlab, here):
    assert idemlab("run", "tiny.toml", *QUICK).exit_code == 0
    steps = [*QUICK, "--set", "training.steps=5"]
    result = idemlab("run", "tiny.toml", "--resume", "--allow-changes", *steps)
    assert result.exit_code == 0, result.stderr
    assert "changed since the run began: training.steps: " in result.stderr
    assert "steps = 5\n" in (here / "runs/tiny/experiment.toml").read_text()


def test_changes_are_allowed_only_where_a_run_is_resumed(idemlab, here):
    result = idemlab("run", "tiny.toml", "--allow-changes")
    assert result.exit_code == 2
    assert "next: add --resume" in result.stderr
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("folder", "code", "message", "way_out"),
    [
        ("/proc/self/no/run", 1, "cannot be written", "give another folder"),
        ("tiny.toml/below/a/file", 2, "'tiny.toml' is a file", "choose another --out"),
    ],
)
def test_an_unwritable_folder_fails(idemlab, here, folder, code, message, way_out):
    result = idemlab("run", "tiny.toml", "--out", folder)
    assert result.exit_code == code
    assert message in result.stderr
    assert f"next: {way_out}" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


# -- how it ends --------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_fails_and_keeps_what_was_good(idemlab, here):
    result = idemlab("run", "tiny.toml", "--set", "optimizer.name=sgd", "--set", "optimizer.lr=1e30")
    assert result.exit_code == 1
    assert re.search(r"error: the loss is not finite at step \d of 6", result.stderr)
    assert "next: " in result.stderr
    assert "Traceback" not in result.stderr
    assert list((here / "runs/tiny/checkpoints").glob("step-*"))
    assert (here / "runs/tiny/metrics.jsonl").read_text()


@pytest.mark.long
def test_ctrl_c_saves_and_resume_completes(idemlab, here):
    steps = [
        "--set",
        "training.steps=1500",
        "--set",
        "training.log_every=10",
        "--set",
        "training.checkpoint_every=9999",
    ]
    command = [sys.executable, "-m", "idemlab", "run", "tiny.toml", *steps, "--set", "evaluation.every=9999"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    stopped = re.search(r"^stopped after step (\d+) of 1500; the state is saved$", err, re.MULTILINE)
    assert stopped is not None
    assert "error" not in err[stopped.start() :]
    assert "--resume" in err
    assert (here / f"runs/tiny/checkpoints/step-{stopped[1]}").is_dir()
    result = idemlab("run", "tiny.toml", *steps, "--set", "evaluation.every=9999", "--resume")
    assert result.exit_code == 0
    assert f"resuming from step-{stopped[1]}" in result.stderr
    logged = [json.loads(line)["step"] for line in (here / "runs/tiny/metrics.jsonl").read_text().splitlines()]
    assert [step for step in logged if step % 10 == 0] == [*range(10, 1501, 10), 1500]


def test_ctrl_c_before_anything_is_written(idemlab, here, trained):
    result = idemlab("run", "tiny.toml")
    assert (result.exit_code, result.stderr) == (130, "stopped before training began; nothing was written\n")


def test_a_second_ctrl_c_in_the_loop(idemlab, trained):
    make_run(Path("runs/my run"))
    result = idemlab("run", "tiny.toml", "--out", "runs/my run")
    assert result.exit_code == 130
    assert "next: idemlab run 'runs/my run' --resume" in result.stderr


def test_ctrl_c_while_the_report_is_written(idemlab, monkeypatch):
    def interrupted(run: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("idemlab.reports.page.write_report", interrupted)
    result = idemlab("run", "tiny.toml", *QUICK)
    assert result.exit_code == 130
    assert "the run is complete\n  next: idemlab report runs/tiny" in result.stderr
    assert "Verdict: " in result.stdout


def test_the_runs_folder_is_relative_to_where_one_is():
    assert not running.RUNS.is_absolute()
