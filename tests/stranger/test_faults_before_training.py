"""Faults that show at the first batch: training does not begin, and the user learns whose fault it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]
Experiment = Callable[..., str]
Faulty = Callable[..., str]
Lines = Callable[[Result], dict[str, str]]

BACKWARD = """
class Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        return t.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise OverflowError("backwards")

return Enforcement(loss=Bad.apply(y.flatten(1).mean(1)))
"""

AT_FIRST: dict[str, tuple[str, str]] = {
    "nan": ("return Enforcement(loss=y.flatten(1).mean(1) * float('nan'))", "returned a loss of nan at finite points"),
    "infinite": ("return Enforcement(loss=y.flatten(1).mean(1) / 0)", "returned a loss of"),
    "scalar": ("return Enforcement(loss=y.square().mean())", "returned a loss of shape [] for 16 samples"),
    "one value": ("return Enforcement(loss=y.square().mean().view(1))", "returned a loss of shape [1] for 16 samples"),
    "unreduced": ("return Enforcement(loss=y.square())", "returned a loss of shape [16, 4] for 16 samples"),
    "column": ("return Enforcement(loss=y.mean(1, keepdim=True))", "returned a loss of shape [16, 1] for 16 samples"),
    "number": ("return Enforcement(loss=0.0)", "returned a loss that is a float, not a tensor,"),
    "tensor": ("return y.square().mean(1)", "returned a Tensor, not an idemlab.Enforcement,"),
    "nothing": ("pass", "returned a NoneType, not an idemlab.Enforcement,"),
    "figure": (
        "return Enforcement(loss=y.mean(1), reported={'size': y.mean()})",
        "returned a value 'size' of shape [] for 16 samples",
    ),
    "gradient": (
        "return Enforcement(loss=(0 * y).sum(1).sqrt())",
        "the gradient is not finite at the very first batch",
    ),
    "raises": ("raise KeyError('oops')", "the training step raised KeyError: 'oops'"),
    "raises in backward": (BACKWARD, "the training step raised OverflowError: backwards"),
}


@pytest.mark.parametrize(
    ("case", "reconstruction"), [*((case, 1.0) for case in AT_FIRST), ("nan", 0.0), ("gradient", 0.0), ("number", 0.0)]
)
def test_a_wrong_enforcer_is_refused_before_anything_is_written(
    case: str,
    reconstruction: float,
    install: Install,
    call: Idemlab,
    experiment: Experiment,
    faulty: Faulty,
    lines: Lines,
    origin: str,
) -> None:
    body, what = AT_FIRST[case]
    install("faulty-one", faulty(body))
    result = call("run", experiment('name = "faulty"'), "--set", f"reconstruction.weight={reconstruction}")
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert origin in lines(result)["where"]
    assert lines(result)["next"]
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


def test_the_file_and_line_of_what_raised_are_told(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    code = faulty("raise KeyError('oops')")
    install("faulty-one", code)
    line = code.splitlines().index("            raise KeyError('oops')") + 1
    result = call("run", experiment('name = "faulty"'))
    assert lines(result)["where"] == f"{origin} (faulty_one.py, line {line})"
    assert lines(result)["next"] == "idemlab check faulty, and report it to the authors of faulty-one"


@pytest.mark.parametrize("case", ["nan", "scalar", "tensor", "raises"])
def test_the_member_of_a_hybrid_is_told(
    case: str, install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    body, what = AT_FIRST[case]
    install("faulty-one", faulty(body))
    result = call("run", experiment('name = "hybrid"\nenforcers = [{ name = "faulty" }, { name = "gradient" }]'))
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert origin in lines(result)["where"]


def test_who_called_what_raised_is_told_too(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    install("faulty-one", faulty("return Enforcement(loss=orbit.apply(y[:, :3]).mean(1))"))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    model, enforcer = lines(result)["where"].split(", called by ")
    assert "plugin 'models' (" in model
    assert enforcer.startswith(origin)


def test_data_that_is_not_finite_is_not_the_fault_of_the_enforcer(
    install: Install, call: Idemlab, experiment: Experiment, lines: Lines
) -> None:
    install(
        "faulty-one",
        """
        from idemlab import DatasetSpec, hookimpl

        def holes():
            import torch
            from idemlab import Dataset
            return Dataset.of_tensors(train=torch.full((32, 4), float("nan")), test=torch.zeros(8, 4))

        @hookimpl
        def provide_datasets():
            yield DatasetSpec(name="holes", factory=holes, summary="Holes.")
        """,
    )
    text = Path(experiment('name = "gradient"')).read_text()
    Path("tiny.toml").write_text(
        text.replace('name = "gaussian"\nshape = [4]\ntrain = 64\ntest = 32', 'name = "holes"')
    )
    result = call("run", "tiny.toml")
    assert result.exit_code == 1
    assert lines(result)["error"] == "the loss is nan at the very first batch"
    assert "look at the data" in lines(result)["next"]


PROJECT = "project(self, matrix)"

OTHER_METHODS: dict[str, tuple[str, str, str, str]] = {
    "projects to another shape": (
        PROJECT,
        "PROJECTION",
        "return matrix[:2]",
        "map.weight of shape [4, 4] to shape [2, 4]",
    ),
    "projects to nan": (
        PROJECT,
        "PROJECTION",
        "return matrix / 0 * 0",
        "map.weight of shape [4, 4] to a matrix that is not finite",
    ),
    "projects to nothing": (PROJECT, "PROJECTION", "pass", "of shape [4, 4] to a NoneType"),
    "projection raises": (PROJECT, "PROJECTION", "raise KeyError('oops')", "the training step raised KeyError: 'oops'"),
    "wrap raises": (
        "wrap(self, operator)",
        "ARCHITECTURE",
        "raise KeyError('oops')",
        "building the experiment raised KeyError: 'oops'",
    ),
}


@pytest.mark.parametrize("case", list(OTHER_METHODS))
def test_projection_and_architecture_answer_too(
    case: str, install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    method, kind, body, what = OTHER_METHODS[case]
    install("faulty-one", faulty(body, method, kind))
    result = call("run", experiment('name = "faulty"', model="linear"))
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert origin in lines(result)["where"]
    assert not Path("runs").exists()
