"""Plugins that fail while they are loaded or described: the others work, and the user learns whose fault it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]
Experiment = Callable[..., str]
Faulty = Callable[..., str]
Lines = Callable[[Result], dict[str, str]]

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
def test_the_host_goes_on_and_says_who_and_what_to_do(case: str, install: Install, call: Idemlab, origin: str) -> None:
    code, cause, fix = LOADING[case]
    install("faulty-one", code)
    listed = call("list", "enforcers")
    assert listed.exit_code == 0
    assert "purification" in listed.stdout
    assert listed.stderr == "faulty-one could not be loaded completely; for the reason: idemlab plugins\n"
    told = call("plugins")
    assert told.exit_code == 0
    assert f"broken: {origin}\n  cause: " in told.stdout
    assert cause in told.stdout
    assert f"fix: {fix}" in told.stdout
    (failure,) = json.loads(call("plugins", "--json").stdout)["failures"]
    assert (failure["plugin"]["distribution"], failure["plugin"]["version"]) == ("faulty-one", "0.3")


def test_who_could_not_be_loaded_is_told_where_a_name_is_missing(install: Install, call: Idemlab, lines: Lines) -> None:
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
def test_two_plugins_of_one_name_are_both_reachable(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines
) -> None:
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


def test_a_missing_optional_dependency_is_named(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    install("faulty-one", faulty("pass").replace("import torch", "import nopackage.inner"))
    assert call("show", "faulty").exit_code == 0  # it is needed to run only
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 2
    assert lines(result) == {
        "error": "enforcer 'faulty' needs the package 'nopackage', which is not installed",
        "where": origin,
        "next": "pip install 'faulty-one[extra]'",
    }


@pytest.mark.parametrize("words", [["show"], ["check"], ["run", "mlp-cubic", "--set", 'enforcer={name="faulty"}']])
def test_traits_that_raise_are_told(
    words: list[str], install: Install, call: Idemlab, faulty: Faulty, lines: Lines, origin: str
) -> None:
    install("faulty-one", faulty("pass").replace("traits=traits", "traits=lambda: 1 / 0"))
    result = call(*words, *([] if "run" in words else ["faulty"]))
    assert result.exit_code == 1
    assert lines(result)["error"].endswith("faulty' cannot determine its traits: ZeroDivisionError: division by zero")
    assert lines(result)["where"].startswith(f"{origin} (faulty_one.py, line ")
    assert "Traceback" not in result.stderr


def test_a_bug_elsewhere_in_a_plugin_is_told_as_its_own(
    install: Install, call: Idemlab, faulty: Faulty, lines: Lines, origin: str
) -> None:
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
    assert lines(result)["where"].startswith(f"{origin} (faulty_one.py, line ")
