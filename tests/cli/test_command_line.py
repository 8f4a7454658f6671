"""What holds for every command: help, exit codes, messages that fit a screen."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from idemlab import Failure, __version__
from idemlab.cli import app, browsing, main

COMMANDS = [
    [],
    ["run"],
    ["sweep"],
    ["status"],
    ["study"],
    ["league"],
    ["list"],
    ["show"],
    ["plugins"],
    ["plugins", "list"],
    ["board"],
    ["compare"],
    ["report"],
    ["apply"],
    ["check"],
    ["doctor"],
    ["bench"],
    ["profile"],
    ["push"],
    ["export"],
]

BROKEN_TOML = "[dataset\nname = 1"

BAD_INPUT = [
    # (command line, what the message must say)
    (
        ["frobnicate"],
        ["there is no command 'frobnicate'", "choices: apply, bench, board, check, compare", "next: idemlab --help"],
    ),
    (["repot"], ["did you mean: report"]),
    (["plugins", "lst"], ["there is no command 'lst'", "where: idemlab plugins", "did you mean: list"]),
    (["--verison"], ["there is no option '--verison'", "did you mean: --version"]),
    (["list", "--jsn"], ["there is no option '--jsn'", "where: idemlab list", "did you mean: --json"]),
    (["list", "a", "b"], ["unexpected extra argument", "next: idemlab list --help"]),
    (["run"], ["the argument EXPERIMENT is missing", "next: idemlab run --help"]),
    (["show"], ["the argument NAME is missing"]),
    (["status"], ["the argument SWEEP is missing"]),
    (["status", "nowhere"], ["nowhere", "next: "]),
    (["apply", "x", "y"], ["the argument OUT is missing"]),
    (["compare"], ["the argument RUN is missing"]),
    (["run", "tiny.toml", "--set"], ["option '--set' requires an argument", "next: idemlab run --help"]),
    (["apply", "a", "b", "c", "--times", "many"], ["invalid value for '--times'"]),
    (["list", "enforcerz"], ["there is no kind 'enforcerz'", "choices: models, datasets", "did you mean: enforcers"]),
    (["list", "xyzzy"], ["there is no kind 'xyzzy'", "next: idemlab list"]),
    (["show", "cubicc"], ["nothing is called 'cubicc'", "did you mean: cubic", "next: idemlab list"]),
    (["show", "cubicc", "--kind", "enforcer"], ["there is no enforcer 'cubicc'", "did you mean: cubic"]),
    (["show", "cubic", "--kind", "model"], ["there is no model 'cubic'", "enforcer"]),
    (["show", "cubic", "--kind", "modell"], ["there is no kind 'modell'", "did you mean: models"]),
    (["show", "missing.toml"], ["there is no file 'missing.toml'"]),
    (["show", "nope"], ["nothing is called 'nope'", "did you mean: none (an enforcer)"]),
    (["show", "srting"], ["nothing is called 'srting'", "did you mean: sorting (an experiment)"]),
    (["check", "cubicc"], ["nothing is called 'cubicc'", "did you mean: cubic (an enforcer)"]),
    (["run", "mlp-cubicc"], ["there is no experiment 'mlp-cubicc'", "did you mean: mlp-cubic"]),
    (
        ["run", "missing.toml"],
        ["there is no file 'missing.toml'", "idemlab list experiments"],
    ),
    (["run", "broken.toml"], ["not valid TOML", "where: broken.toml"]),
    (["run", "tiny.toml", "--set", "enforcer"], ["'enforcer' is not an override", "expected: key=value"]),
    (["run", "tiny.toml", "--set", "=1"], ["'=1' is not an override"]),
    (["run", "tiny.toml", "--set", "enforcr.weight=1"], ["there is no key 'enforcr'", "did you mean: enforcer"]),
    (["run", "tiny.toml", "--set", "training.stepz=1"], ["has no key 'stepz'", "did you mean: steps"]),
    (["run", "tiny.toml", "--set", "enforcer.wieght=1"], ["has no argument 'wieght'", "did you mean: weight"]),
    (["run", "tiny.toml", "--set", "enforcer.name=cubix"], ["there is no enforcer 'cubix'", "did you mean: cubic"]),
    (["run", "tiny.toml", "--set", "model.name=cubic"], ["there is no model 'cubic'"]),
    (
        ["run", "tiny.toml", "--set", "training.steps=soon"],
        ["'steps'", '"soon"', "expected: int", "override 'training.steps=soon'"],
    ),
    (["run", "tiny.toml", "--set", "enforcer.weight=-1"], ["'weight'", "-1", "expected: float, >= 0"]),
    (
        ["run", "tiny.toml", "--set", "optimizer.schedule=cosin"],
        ["no schedule 'cosin'", "choices: constant, cosine, linear, step", "did you mean: cosine"],
    ),
    (["run", "tiny.toml", "--resume"], ["there is no run of 'tiny' in 'runs'", "next: leave --resume out"]),
    (["compare", "nowhere"], ["'nowhere' holds no run"]),
    (["board", "nowhere"], ["'nowhere' does not exist", "expected: a folder with runs"]),
    (["board", "."], ["there is no run, sweep or study below '.'", "next: name another folder"]),
    (["board", ".", "--out", "b.txt"], ["'b.txt' is not a file name for a page", "ends in .html"]),
    (["report", "nowhere"], ["'nowhere' holds no run"]),
    (["apply", "nowhere", "in", "out"], ["there is no operator 'nowhere'", "the folder of a run"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_calls_the_command(idemlab, command):
    result = idemlab(*command, "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    examples = lines[lines.index("Example:") + 1 :]
    assert examples
    assert all(line.startswith(" ".join(["idemlab", *command])) for line in examples)
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_every_command_is_in_the_table_above():
    from typer.main import get_command

    listed = set(get_command(app).commands)
    assert listed == {command[0] for command in COMMANDS if command}


def test_alone_it_prints_the_help(idemlab):
    assert idemlab().stdout == idemlab("--help").stdout
    assert idemlab().exit_code == 0


def test_version(idemlab):
    assert idemlab("--version").stdout == f"idemlab {__version__}\n"


@pytest.mark.parametrize(("words", "expected"), BAD_INPUT, ids=lambda value: " ".join(value)[:60])
def test_bad_input_is_explained_on_one_screen(idemlab, here, words, expected):
    (here / "broken.toml").write_text(BROKEN_TOML)
    result = idemlab(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    for text in expected:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert sum(len(textwrap.wrap(line, 100)) for line in result.stderr.splitlines()) <= 24
    assert sorted(path.name for path in here.iterdir()) == ["broken.toml", "tiny.toml"]


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_the_labels_stand_in_a_column(idemlab):
    result = idemlab("run", "tiny.toml", "--set", "enforcer.wieght=[red]1[/red]")
    assert result.exit_code == 2
    assert "\x1b[" in result.stderr
    assert "[red]1[/red]" in result.stderr
    assert all(label in result.stderr for label in ("where", "choices", "did you mean", "next"))


def test_a_bug_is_called_a_bug_and_shows_its_traceback(idemlab, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError("sorry")

    monkeypatch.setattr(browsing, "installed", broken)
    result = idemlab("list")
    assert result.exit_code == 1
    assert "ZeroDivisionError: sorry" in result.stderr
    assert "error: this is a bug in idemlab or in a plugin" in result.stderr
    assert "next: report it" in result.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Failure("it failed", next_step="try again"), 1, "error: it failed\n  next: try again\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "file"),
            1,
            "error: No space left on device\n  where: file\n",
        ),
        (OSError(errno.EACCES, "Permission denied"), 1, "error: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=["failure", "disk full", "no permission", "Ctrl-C"],
)
def test_what_is_no_bug_has_no_traceback(idemlab, monkeypatch, raised, code, said):
    def fails() -> None:
        raise raised

    monkeypatch.setattr(browsing, "installed", fails)
    result = idemlab("list")
    assert result.exit_code == code
    assert result.stderr == said


def test_json_writes_what_is_not_finite_as_text(capsys):
    from idemlab.cli.console import show_json

    show_json({"a": [1.5, float("nan"), float("inf")], 2: (None, "ä", Path("x"))})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, "NaN", "Infinity"], "2": [None, "ä", "x"]}


def test_in_a_pipe_lines_are_neither_wrapped_nor_padded(idemlab):
    for line in idemlab("show", "hybrid").stdout.splitlines():
        assert line == line.rstrip()
    assert max(map(len, idemlab("show", "hybrid").stdout.splitlines())) > 200


def test_as_a_module_with_a_reader_that_goes_away(here):
    """`python -m idemlab list | head -0`"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "idemlab", "list"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.long
def test_as_a_module_on_an_output_that_lacks_letters(here):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "idemlab", "show", "ign"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"?" in done.stdout


def test_main_reads_the_command_line_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["idemlab", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert capsys.readouterr().out == f"idemlab {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "qwrtz"],
        ["check", "compressio"],
        ["run", "runs/sorting"],
        ["run", "./sorting"],
        ["run", "sorting/"],
    ],
    ids=" ".join,
)
def test_nothing_is_suggested_where_nothing_near_fits(idemlab, arguments):
    """An experiment is no object to check, and an experiment of the same name does not replace a missing run."""
    result = idemlab(*arguments)
    assert result.exit_code == 2
    assert "did you mean" not in result.stderr


def test_a_run_and_a_sweep_are_told_apart(idemlab, here):
    for name, file in (("run", "experiment.toml"), ("sweep", "sweep.toml"), ("nothing", "x")):
        (here / "runs" / name).mkdir(parents=True)
        (here / "runs" / name / file).touch()
    for arguments, told in (
        (["status", "runs/run"], ["'runs/run' is a run, not a sweep", "next: idemlab compare runs/run shows the run"]),
        (["status", "runs/nothing"], ["'runs/nothing' holds no sweep", "choices: runs/sweep", "next: idemlab sweep"]),
        (["report", "runs/sweep"], ["'runs/sweep' is a sweep, not a run", "next: idemlab status runs/sweep shows"]),
        (["report", "runs/nothing"], ["'runs/nothing' holds no run", "choices: runs/run", "next: idemlab run"]),
    ):
        result = idemlab(*arguments)
        assert result.exit_code == 2
        assert [text for text in told if text not in result.stderr] == [], result.stderr
