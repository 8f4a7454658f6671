"""Faulty plugins through the command line: the host goes on, and says whose fault it is and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]
Experiment = Callable[..., str]

FAULTY = """
from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

def faulty():
    import torch
    from idemlab import Enforcement, Enforcer

    class Faulty(Enforcer):
{methods}
    return Faulty()

@hookimpl
def provide_enforcers():
    traits = Traits(kinds=frozenset({{EnforcerKind.{kind}}}))
    yield EnforcerSpec(name="faulty", factory=faulty, summary="Faulty.", install="faulty-one[extra]", traits=traits)
"""
ORIGIN = "faulty-one 0.3, plugin 'faulty_one'"


def faulty(body: str, method: str = "forward(self, orbit, step)", kind: str = "LOSS") -> str:
    """A plugin whose enforcer has one method, of this body; y is f(x) in `forward`."""
    first = "y = orbit.output\n" if method.startswith("forward") else ""
    return FAULTY.format(methods=indent(f"def {method}:\n" + indent(first + body, "    "), " " * 8), kind=kind)


def lines(result: Result) -> dict[str, str]:
    """The labelled lines of an error."""
    told = [line.strip().split(": ", 1) for line in result.stderr.splitlines() if ": " in line]
    return dict(told)


# -- faults in loading --------------------------------------------------------------------------------------------------

SPEC = "from idemlab import EnforcerSpec, MetricSpec, hookimpl\ndef own(): ...\n"
HOOK = SPEC + "@hookimpl\ndef provide_enforcers(): "

LOADING: dict[str, tuple[str, str, str]] = {
    # what is wrong: (code, cause, fix)
    "import error": (
        "import nopackage",
        "No module named 'nopackage'",
        "pip install nopackage, or leave the plugin out",
    ),
    "syntax error": (
        "def f(:",
        "SyntaxError: invalid syntax (faulty_one.py, line 1)",
        "pip install --upgrade faulty-one",
    ),
    "wrong spec type": (
        HOOK + "yield MetricSpec(name='own', factory=own, summary='')",
        "its hook provide_enforcers yielded MetricSpec, not EnforcerSpec",
        "yield EnforcerSpec(name=..., factory=..., summary=...) there",
    ),
    "misspelt hook": (
        HOOK.replace("provide_enforcers", "provide_enforcer") + "yield",
        "unknown hook 'provide_enforcer'",
        "name its hooks provide_models",
    ),
    "hook that raises": (
        HOOK + "raise RuntimeError('not today')",
        "its hook provide_enforcers raised RuntimeError: not today",
        "pip install --upgrade faulty-one",
    ),
    "wrong traits": (
        HOOK + "yield EnforcerSpec(name='own', factory=own, summary='', traits='linear')",
        "enforcer 'own': its traits are a str, not Traits",
        "give it traits=Traits(...)",
    ),
    "newer api": (
        HOOK + "yield EnforcerSpec(name='own', factory=own, summary='', api_version=9)",
        "enforcer 'own' is written for api_version 9",
        "pip install --upgrade idemlab",
    ),
    "older api": (
        HOOK + "yield EnforcerSpec(name='own', factory=own, summary='', api_version=0)",
        "enforcer 'own' is written for api_version 0",
        "pip install --upgrade faulty-one",
    ),
    "no annotations": (
        HOOK + "yield EnforcerSpec(name='own', factory=lambda weight: 0, summary='')",
        "enforcer 'own': argument 'weight' of <lambda> has no annotation",
        "make it a plain function whose arguments are annotated",
    ),
}


@pytest.mark.parametrize("case", list(LOADING))
def test_the_host_goes_on_and_says_who_and_what_to_do(case: str, install: Install, call: Idemlab) -> None:
    code, cause, fix = LOADING[case]
    install("faulty-one", code)
    listed = call("list", "enforcers")
    assert listed.exit_code == 0
    assert "cubic-projection" in listed.stdout
    assert listed.stderr == "faulty-one could not be loaded completely; for the reason: idemlab plugins\n"
    told = call("plugins")
    assert told.exit_code == 0
    assert f"broken: {ORIGIN}\n  cause: " in told.stdout
    assert cause in told.stdout
    assert f"fix: {fix}" in told.stdout
    (failure,) = json.loads(call("plugins", "--json").stdout)["failures"]
    assert (failure["plugin"]["distribution"], failure["plugin"]["version"]) == ("faulty-one", "0.3")


def test_who_could_not_be_loaded_is_told_where_a_name_is_missing(install: Install, call: Idemlab) -> None:
    install("faulty-one", LOADING["import error"][0])
    wanted = call("run", "mlp-cubic", "--set", "enforcer.name=own")
    assert wanted.exit_code == 2
    assert "there is no enforcer 'own'; plugins that could not be loaded: faulty-one" in wanted.stderr
    assert lines(wanted)["next"] == "idemlab plugins"
    for command in ("show", "check"):
        unknown = call(command, "own")
        assert unknown.exit_code == 2
        assert "error: nothing is called 'own'; plugins that could not be loaded: faulty-one" in unknown.stderr
        assert lines(unknown)["next"] == "idemlab plugins"


def test_beside_a_broken_plugin_the_others_train(install: Install, call: Idemlab, experiment: Experiment) -> None:
    install("faulty-one", "raise SystemExit(3)")
    result = call("run", experiment('name = "gradient"'))
    assert result.exit_code == 0
    assert Path("runs/tiny/certificate.json").is_file()


@pytest.mark.long
def test_two_plugins_of_one_name_are_both_reachable(install: Install, call: Idemlab, experiment: Experiment) -> None:
    for name, factor in (("first-one", 1), ("second-one", 2)):
        install(name, faulty(f"return Enforcement(loss={factor} * (orbit.live(2) - y).square().flatten(1).mean(1))"))
    refused = call("run", experiment('name = "faulty"'))
    assert refused.exit_code == 2
    assert lines(refused)["error"] == "2 plugins offer the enforcer 'faulty'"
    assert lines(refused)["choices"] == "first-one:faulty, second-one:faulty"
    assert lines(refused)["next"] == "write the full name, distribution:name"
    assert "first-one:faulty" in call("list", "enforcers").stdout
    assert "second-one 0.3, plugin 'second_one'" in call("show", "second-one:faulty").stdout
    for full in ("first-one:faulty", "second-one:faulty"):
        assert call("run", experiment(f'name = "{full}"'), "--out", full.partition(":")[0]).exit_code == 0
        assert f'name = "{full}"' in Path(full.partition(":")[0], "experiment.toml").read_text()


def test_a_missing_optional_dependency_is_named(install: Install, call: Idemlab, experiment: Experiment) -> None:
    install("faulty-one", faulty("pass").replace("import torch", "import nopackage.inner"))
    assert call("show", "faulty").exit_code == 0  # it is needed to run only
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 2
    assert lines(result) == {
        "error": "enforcer 'faulty' needs the package 'nopackage', which is not installed",
        "where": ORIGIN,
        "next": "pip install 'faulty-one[extra]'",
    }


# -- faults before the first step -----------------------------------------------------------------------------------------

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
    case: str, reconstruction: float, install: Install, call: Idemlab, experiment: Experiment
) -> None:
    body, what = AT_FIRST[case]
    install("faulty-one", faulty(body))
    result = call("run", experiment('name = "faulty"'), "--set", f"reconstruction.weight={reconstruction}")
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert ORIGIN in lines(result)["where"]
    assert lines(result)["next"]
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


def test_the_file_and_line_of_what_raised_are_told(install: Install, call: Idemlab, experiment: Experiment) -> None:
    code = faulty("raise KeyError('oops')")
    install("faulty-one", code)
    line = code.splitlines().index("            raise KeyError('oops')") + 1
    result = call("run", experiment('name = "faulty"'))
    assert lines(result)["where"] == f"{ORIGIN} (faulty_one.py, line {line})"
    assert lines(result)["next"] == "idemlab check faulty, and report it to the authors of faulty-one"


@pytest.mark.parametrize("case", ["nan", "scalar", "tensor", "raises"])
def test_the_member_of_a_hybrid_is_told(case: str, install: Install, call: Idemlab, experiment: Experiment) -> None:
    body, what = AT_FIRST[case]
    install("faulty-one", faulty(body))
    result = call("run", experiment('name = "hybrid"\nenforcers = [{ name = "faulty" }, { name = "gradient" }]'))
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert ORIGIN in lines(result)["where"]


def test_who_called_what_raised_is_told_too(install: Install, call: Idemlab, experiment: Experiment) -> None:
    install("faulty-one", faulty("return Enforcement(loss=orbit.apply(y[:, :3]).mean(1))"))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    model, enforcer = lines(result)["where"].split(", called by ")
    assert "plugin 'models' (" in model
    assert enforcer.startswith(ORIGIN)


def test_data_that_is_not_finite_is_not_the_fault_of_the_enforcer(
    install: Install, call: Idemlab, experiment: Experiment
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
    case: str, install: Install, call: Idemlab, experiment: Experiment
) -> None:
    method, kind, body, what = OTHER_METHODS[case]
    install("faulty-one", faulty(body, method, kind))
    result = call("run", experiment('name = "faulty"', model="linear"))
    assert result.exit_code == 1
    assert what in lines(result)["error"]
    assert ORIGIN in lines(result)["where"]
    assert not Path("runs").exists()


# -- faults in the middle of a run ----------------------------------------------------------------------------------------

GOOD = "loss = (orbit.live(2) - y).square().flatten(1).mean(1)\nreturn Enforcement(loss=loss)"
LATE = "if step.purpose == 'train' and step.index == 3:\n    {}\n" + GOOD


def entries(split: str) -> list[int]:
    """Steps of the figures in the run, of one split."""
    logged = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    return [entry["step"] for entry in logged if entry["split"] == split]


def test_a_run_whose_enforcer_raises_keeps_all_and_goes_on_once_it_is_mended(
    install: Install, call: Idemlab, experiment: Experiment
) -> None:
    install("faulty-one", faulty(LATE.format("raise KeyError('oops')")))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    assert lines(result)["error"] == (
        "the training step raised KeyError: 'oops', after 3 of 6 steps; the state before it is saved as step-3"
    )
    assert lines(result)["where"].startswith(f"{ORIGIN} (faulty_one.py, line ")
    next_step = lines(result)["next"]
    assert next_step.endswith(
        "report it to the authors of faulty-one; once that is fixed: idemlab run runs/tiny --resume"
    )
    assert entries("train") == [1, 2, 3]
    assert {path.name for path in Path("runs/tiny/checkpoints").iterdir()} >= {"step-3"}
    assert not Path("runs/tiny/certificate.json").exists()

    Path("site/faulty_one.py").write_text(faulty(GOOD))
    _forget("faulty_one")
    assert call("run", "runs/tiny", "--resume").exit_code == 0
    assert entries("train") == [1, 2, 3, 4, 5, 6]
    assert Path("runs/tiny/certificate.json").exists()


def test_a_loss_that_turns_nan_stops_the_run_with_all_kept(
    install: Install, call: Idemlab, experiment: Experiment
) -> None:
    install("faulty-one", faulty(LATE.format("return Enforcement(loss=y.flatten(1).mean(1) * float('nan'))")))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    assert lines(result)["error"] == "the loss is not finite at step 4 of 6; the state before it is saved as step-3"
    assert entries("train") == [1, 2, 3]
    assert Path("runs/tiny/checkpoints/step-3").is_dir()


def test_a_metric_that_raises_in_the_middle_is_told_and_the_run_kept(
    install: Install, call: Idemlab, experiment: Experiment
) -> None:
    install(
        "faulty-one",
        """
        from idemlab import MetricSpec, hookimpl

        def broken():
            from idemlab import Metric

            class Broken(Metric):
                def __call__(self, orbit, batch):
                    raise IndexError("too far")

            return Broken()

        @hookimpl
        def provide_metrics():
            yield MetricSpec(name="broken", factory=broken, summary="Broken.")
        """,
    )
    result = call("run", experiment('name = "gradient"'), "--set", "evaluation.metrics=['broken']")
    assert result.exit_code == 1
    assert lines(result)["error"].startswith("the evaluation raised IndexError: too far, after 4 of 6 steps; ")
    assert lines(result)["where"].startswith(f"{ORIGIN} (faulty_one.py, line ")
    assert entries("train") == [1, 2, 3, 4]
    assert Path("runs/tiny/checkpoints/step-4").is_dir()


@pytest.mark.parametrize("words", [["show"], ["check"], ["run", "mlp-cubic", "--set", 'enforcer={name="faulty"}']])
def test_traits_that_raise_are_told(words: list[str], install: Install, call: Idemlab) -> None:
    install("faulty-one", faulty("pass").replace("traits=traits", "traits=lambda: 1 / 0"))
    result = call(*words, *([] if "run" in words else ["faulty"]))
    assert result.exit_code == 1
    assert lines(result)["error"].endswith("faulty' cannot determine its traits: ZeroDivisionError: division by zero")
    assert lines(result)["where"].startswith(f"{ORIGIN} (faulty_one.py, line ")
    assert "Traceback" not in result.stderr


def test_a_bug_elsewhere_in_a_plugin_is_told_as_its_own(install: Install, call: Idemlab) -> None:
    code = """
from typing import Any

class Size:
    def __str__(self):
        raise KeyError("oops")
"""
    install("faulty-one", code + faulty("pass").replace("def faulty()", "def faulty(size: Any = Size())"))
    result = call("show", "faulty")
    assert result.exit_code == 1
    assert lines(result)["error"] == "this is a bug in faulty-one, not a mistake of yours"
    assert lines(result)["where"].startswith(f"{ORIGIN} (faulty_one.py, line ")


def _forget(module: str) -> None:
    import importlib
    import sys

    importlib.invalidate_caches()
    del sys.modules[module]
