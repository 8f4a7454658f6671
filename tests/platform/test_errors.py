"""Errors that a person reads."""

from __future__ import annotations

import pickle

import pytest

from idemlab import BadInput, Failure, IdemlabError
from idemlab.errors import nearest_match


def test_everything_is_printed_in_reading_order() -> None:
    error = BadInput(
        "there is no model 'mpl'",
        where="my.toml, [model]",
        expected="a model",
        choices=["linear", "mlp"],
        nearest="mlp",
        next_step="idemlab list models",
    )
    assert str(error).splitlines() == [
        "there is no model 'mpl'",
        "  where: my.toml, [model]",
        "  expected: a model",
        "  choices: linear, mlp",
        "  did you mean: mlp",
        "  next: idemlab list models",
    ]
    assert error.lines()[0] == ("", "there is no model 'mpl'")


def test_what_is_not_known_is_left_out() -> None:
    assert str(Failure("disk full")) == "disk full"
    assert Failure("disk full", next_step="make room").lines() == [("", "disk full"), ("next", "make room")]


def test_where_may_be_told_later() -> None:
    error = BadInput("too wide")
    error.where = "model 'mlp'"
    assert "where: model 'mlp'" in str(error)


@pytest.mark.parametrize(("cls", "code"), [(BadInput, 2), (Failure, 1), (IdemlabError, 1)])
def test_exit_codes(cls: type[IdemlabError], code: int) -> None:
    assert cls("x").exit_code == code
    assert isinstance(cls("x"), IdemlabError)


def test_an_error_survives_the_way_to_another_process() -> None:
    error = BadInput("x", where="y", choices=["a", "b"], next_step="z")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is BadInput
    assert str(copy) == str(error)
    assert copy.choices == ("a", "b")


@pytest.mark.parametrize(
    ("name", "choices", "nearest"),
    [
        ("mpl", ["linear", "mlp"], "mlp"),
        ("wieght", ["weight", "cotangent"], "weight"),
        ("Batch-Size", ["batch_size", "keep"], "batch_size"),
        ("log-every", ["log-ever", "log_every"], "log_every"),
        ("L1", ["l1", "l2"], "l1"),
        ("cubic", ["Cubic"], "Cubic"),
        ("gauss", ["gaussian", "torus"], "gaussian"),
        ("nothing-like-it", ["mlp", "unet"], None),
        ("x", [], None),
    ],
)
def test_nearest_match(name: str, choices: list[str], nearest: str | None) -> None:
    assert nearest_match(name, choices) == nearest
