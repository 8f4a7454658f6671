"""Below the command line no text spells an option: fields are named in backquotes, and `cli` writes options."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from idemlab import BadInput
from idemlab.cli.fields import as_typed
from idemlab.wording import AGAIN, command, counted, listed, percent, plural

ROOT = Path(__file__).parents[2]
BELOW_CLI = [
    path
    for source in ("platform/idemlab", "plugins", "registry")
    for path in sorted((ROOT / source).rglob("*.py"))
    if not {"cli", "tests"} & set(path.relative_to(ROOT).parts)
]
OTHERS = {
    "accelerate launch": {"--cpu", "--multi_gpu", "--use_fsdp", "--fsdp_version"},
    "torchrun": {"--nproc_per_node"},
    "pip install": {"--upgrade", "--force-reinstall"},
}
"""Options of other programs that a message may quote."""
OPTION = re.compile(r"(?<![\w-])(?<!var\()--[a-z][\w-]*")  # var(--blue) is a variable of a style sheet


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def texts(path: Path) -> list[str]:
    return [
        node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.long
def test_no_text_below_the_command_line_spells_an_option() -> None:
    spelled = {
        f"{path.relative_to(ROOT)}: {text[:90]}"
        for path in BELOW_CLI
        for text in texts(path)
        if set(OPTION.findall(text)) - set().union(*OTHERS.values())
    }
    assert not spelled


OPTIONS = ["--resume", "--allow-changes", "--jobs", "--out", "--set"]


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        (AGAIN, "repeat the command with --resume"),
        ("go on with `allow_changes`", "go on with --allow-changes"),
        ("`jobs = 1`, or choose another `out`", "--jobs 1, or choose another --out"),
        ("`optimizer.clip = 1.0` helps", "--set optimizer.clip=1.0 helps"),
        ("set optimizer.clip = 1.0, or lower optimizer.lr", "--set optimizer.clip=1.0, or lower optimizer.lr"),
        ("set training.compile = false.", "--set training.compile=false."),
        ("`source = [a, b]` and `unknown`", "`source = [a, b]` and `unknown`"),
        ("`model.shape = [1, 2]`", "--set 'model.shape=[1, 2]'"),
        ("idemlab list models", "idemlab list models"),
        ("a file with --set optimizer.lr=2", "a file with --set optimizer.lr=2"),
    ],
)
def test_the_command_line_writes_its_options_for_fields(field: str, typed: str) -> None:
    error = as_typed(BadInput(field, next_step=field, expected=field, choices=[field]), OPTIONS)
    assert (error.what, error.next_step, error.expected, error.choices) == (typed, typed, typed, (typed,))


@pytest.mark.parametrize(
    ("where", "typed"), [("jobs", "--jobs"), ("over, key 'a.b'", "over, key 'a.b'"), ("a file", "a file"), (None, None)]
)
def test_a_place_may_be_a_field(where: str | None, typed: str | None) -> None:
    assert (as_typed(BadInput("what", where=where), OPTIONS).where or None) == typed


def test_commands_are_composed_in_one_place() -> None:
    assert command("run", Path("a b"), resume=True) == "idemlab run 'a b' --resume"
    assert command("study", "basin", quick=False, out="x") == "idemlab study basin --out x"


def test_lists_and_shares_in_words() -> None:
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    shares = {0.0: "0 %", 1e-9: "less than 0.001 %", 0.000123: "0.012 %", 0.0512: "5.1 %", 0.5: "50 %", 1.0: "100 %"}
    shares |= {12.345: "1,234 %", 1e9: "more than 1,000,000 %", float("inf"): "infinite"}
    assert {share: percent(share) for share in shares} == shares


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2, 12000)] == ["0 trials", "1 trial", "2 trials", "12,000 trials"]
    assert counted(1, "process", "processes") == "1 process"
    assert [plural(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


NOUNS = {
    *(
        "trials",
        "steps",
        "processes",
        "seeds",
        "samples",
        "inputs",
        "images",
        "points",
        "threads",
        "parameters",
        "settings",
    ),
    *("workers", "evaluations", "epochs", "checkpoints", "plugins", "rows", "columns", "classes", "labels", "indices"),
    *("pictures", "files", "names", "runs", "sweeps", "values", "epochs", "batches"),
}
NEVER_ONE = {
    *("expected_processes()", "len(matches)", "len(entries)", "len(best.trials)", "self.world", "len(parameters)"),
    *(
        "shape[-1]",
        "len(paths)",
        "len(table)",
        "count",
        "10 * _STEPS",
        "number(rate)",
        "len(train)",
        "len(value)",
        "len(names)",
        "key",
        "suffix",
        "experiment.evaluation.split",
    ),
}
"""Counts that are more than one where the noun follows them."""


@pytest.mark.long
def test_no_message_counts_one_of_several() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {ast.unparse(count.value)} {text.value.split()[0]}"
        for path in [*BELOW_CLI, *sorted((ROOT / "platform/idemlab/cli").rglob("*.py"))]
        if "registry" not in path.parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        for count, text in pairwise(node.values)
        if isinstance(count, ast.FormattedValue)
        and isinstance(text, ast.Constant)
        and str(text.value).startswith(" ")
        and re.split(r"\W", str(text.value)[1:])[0] in NOUNS
        and ast.unparse(count.value) not in NEVER_ONE
    }
    assert not wrong
