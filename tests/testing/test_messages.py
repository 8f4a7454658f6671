"""What a failure says, that it can be had again, and that a wrong question is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import idemlab
from idemlab import BadInput, Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Failure, Orbit, Step, Traits, installed
from idemlab.cli import app
from idemlab.testing import (
    CheckFailed,
    Outcome,
    Report,
    check_dataset,
    check_enforcer,
    check_model,
    check_thing,
    enforcer_checks,
    reproduce,
)
from idemlab.testing.kit import CHECKS


class PlusSign(Enforcer):
    """The erratum: K <- 3 K^2 + 2 K^3."""

    def project(self, matrix: Tensor) -> Tensor:
        return 3 * matrix @ matrix + 2 * matrix @ matrix @ matrix


def plus_sign(weight: float = 1.0) -> Any:
    """The erratum."""
    return PlusSign()


TRAITS = Traits(kinds=frozenset({EnforcerKind.PROJECTION}), linear_only=True, orthogonally_equivariant=True)
PLUS = EnforcerSpec(name="plus-sign", factory=plus_sign, summary="The erratum.", traits=TRAITS)
WRONG = ["idempotents-stay", "attracted-in-one-step", "attracted-to-the-end"]


def raises() -> Any:
    class Raises(Enforcer):
        def forward(self, orbit: Orbit, step: Step) -> Enforcement:
            raise ZeroDivisionError("in the plugin")

    return Raises()


LOSS = Traits(kinds=frozenset({EnforcerKind.LOSS}))
RAISES = EnforcerSpec(name="raises", factory=raises, summary="Raises.", traits=LOSS)


def failures(spec: EnforcerSpec) -> dict[str, Callable[[], str]]:
    """For each check, in order: a function that runs it and gives what its failure says, "" for none."""

    def what(check: Callable[[], None]) -> str:
        try:
            check()
        except CheckFailed as failure:
            return failure.what
        return ""

    _, parameters = enforcer_checks([spec], quick=True).mark.args  # type: ignore[attr-defined]
    return {p.id.removeprefix(f"{spec.name}-"): partial(what, p.values[0]) for p in parameters}


@pytest.fixture(scope="module")
def report() -> Report:
    """What is said of the erratum."""
    return check_enforcer(PLUS, {"weight": 2.0}, quick=True)


@pytest.fixture(scope="module")
def again() -> Report:
    """The report on the same enforcer when its failures are expected."""
    return check_enforcer(PLUS, {"weight": 2.0}, expected_failures=dict.fromkeys(WRONG, "the erratum"), quick=True)


@pytest.fixture
def failed(report: Report) -> str:
    """The failure of the first check that the erratum fails."""
    assert list(report.failed) == WRONG
    return next(row.failure for row in report.rows if row.check == "idempotents-stay")


def test_it_says_who_and_what_and_by_how_much(failed: str) -> None:
    lines = failed.splitlines()
    assert lines[0] == "idempotents-stay failed"
    assert "  who: enforcer 'plus-sign' {weight = 2.0}" in lines
    assert f"  from: module '{__name__}', which no installed plugin offers" in lines
    assert "  should: At an idempotent nothing moves." in lines
    assert any(line.startswith("  measured: ") and line.endswith("bound 1e-08") for line in lines)
    assert any(line.startswith("  likely cause: ") for line in lines)


def test_it_shows_the_smallest_map_with_its_spectrum(failed: str) -> None:
    """At 0 the plus sign is right: the smallest idempotent that it moves is the number 1."""
    assert "LinearMap 1x1 with eigenvalues 1; cond(S) = 1\n      [[1]]\n    eigenvalues 1; singular values 1" in failed


def test_the_snippet_runs_and_fails_again(failed: str) -> None:
    snippet = failed.partition("  again:\n")[2]
    code = "\n".join(line.removeprefix("    ") for line in snippet.splitlines())
    assert f"from {__name__} import PLUS" in code
    with pytest.raises(CheckFailed, match="divided by that nearby: measured"):
        exec(code, {})


@pytest.mark.parametrize("where", ["hook", "nowhere"])
def test_a_spec_that_has_no_name_in_its_module_is_found_by_its_hook(where: str, monkeypatch: Any) -> None:
    spec = EnforcerSpec(name="plus-sign", factory=plus_sign, summary="Again.", traits=TRAITS)
    if where == "hook":
        monkeypatch.setattr(sys.modules[__name__], "provide_enforcers", lambda: [RAISES, spec], raising=False)
    failure = failures(spec)["idempotents-stay"]()
    if where == "hook":
        assert f"from {__name__} import provide_enforcers\n" in failure
        assert "reproduce(next(spec for spec in provide_enforcers() if spec.name == 'plus-sign')," in failure
    else:
        assert "spec = ...  # the EnforcerSpec named 'plus-sign'\n" in failure


def test_what_the_plugin_raises_is_told_with_its_place() -> None:
    failure = failures(RAISES)["deterministic"]()
    assert "it raised ZeroDivisionError: in the plugin (" in failure
    assert "test_messages.py, line " in failure, "its own line, not that of torch"
    with pytest.raises(ZeroDivisionError):
        reproduce(RAISES, "deterministic")


def without_number() -> Any:
    class WithoutNumber(Enforcer):
        def forward(self, orbit: Orbit, step: Step) -> Enforcement:
            return Enforcement(loss=orbit.output.flatten(1).mean(1) * float("nan"))

    return WithoutNumber()


def test_nan_is_not_taken_for_chance_or_lost_state() -> None:
    checks = failures(EnforcerSpec(name="nan", factory=without_number, summary="", traits=LOSS))
    assert all(checks[name]() for name in ("any-shape-and-batch", "finite-at-extremes"))
    assert not any(checks[name]() for name in ("randomness-through-step-only", "deterministic", "state-round-trips"))


def no_enforcement() -> Any:
    class NoEnforcement(Enforcer):
        def forward(self, orbit: Orbit, step: Step) -> Tensor:  # type: ignore[override]
            return orbit.output.flatten(1).mean(1)

    return NoEnforcement()


def test_a_forward_that_returns_something_else_is_told_in_the_first_place() -> None:
    spec = EnforcerSpec(name="tensor", factory=no_enforcement, summary="", traits=LOSS)
    first, run = next(iter(failures(spec).items()))
    assert first == "kinds-as-declared"
    assert "  found: forward returned Tensor, not an Enforcement" in run().splitlines()


def test_on_another_map_it_passes() -> None:
    reproduce(PLUS, "idempotents-stay", matrix=torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(CheckFailed):
        reproduce(PLUS, "idempotents-stay", matrix=torch.eye(2, dtype=torch.float64))
    with pytest.raises(CheckFailed):  # without a map, one is searched
        reproduce(PLUS, "idempotents-stay")


# -- expected failures, reports -----------------------------------------------------------------------------------------


def test_expected_failures_are_no_failures(again: Report) -> None:
    assert again.passed
    assert {row.check for row in again.rows if row.outcome is Outcome.EXPECTED} == set(WRONG)
    assert "idempotents-stay              failed as expected: the erratum" in str(again).splitlines()


def test_an_expected_failure_that_passes_is_one() -> None:
    report = check_enforcer("purification", expected_failures={"idempotents-stay": "so I thought"}, quick=True)
    assert not report.passed
    assert "idempotents-stay was expected to fail (so I thought), but passes: remove it" in str(report)
    assert "9 passed, 1 passed, expected to fail" in report.summary()


def test_a_report_is_plain_values(report: Report, again: Report) -> None:
    plain = json.loads(json.dumps(again.as_dict()))
    assert (plain["kind"], plain["name"], plain["arguments"]) == ("enforcer", "plus-sign", {"weight": 2.0})
    assert (plain["quick"], plain["passed"], report.as_dict()["passed"]) == (True, True, False)
    rows = {row["check"]: row for row in plain["rows"]}
    assert (rows[WRONG[0]]["outcome"], rows[WRONG[0]]["reason"]) == ("failed as expected", "the erratum")
    assert {row["check"] for row in report.as_dict()["rows"] if row["outcome"] == "failed"} == set(WRONG)
    assert rows["projection-is-pure"]["failure"] == ""


def test_verdicts_and_failures_are_the_same_again(report: Report, again: Report) -> None:
    assert list(report.failed) == WRONG
    assert [(row.check, row.failure) for row in again.rows] == [(row.check, row.failure) for row in report.rows]


def test_nothing_is_disturbed() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_default_dtype()
    check_enforcer("cubic", quick=True)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_default_dtype() == before[1]


def test_names_and_statements_are_fit_to_print() -> None:
    assert len({(check.kind, check.name) for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.statement.endswith("."), check.name
        assert check.cause, check.name
        assert len(check.statement) < 130, check.name


# -- wrong questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"determinstic": "x"}, "there is no check 'determinstic'"),
        ({"projection-is-pure": "x"}, "the check 'projection-is-pure' does not apply to enforcer 'cubic'"),
        ({"deterministic": " "}, "the reason is missing"),
    ],
)
def test_a_wrong_expectation_is_refused(expected: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_enforcer("cubic", expected_failures=expected)


def test_a_near_check_is_named() -> None:
    with pytest.raises(BadInput) as error:
        check_enforcer("cubic", expected_failures={"determinstic": "x"})
    assert error.value.nearest == "deterministic"


def test_wrong_things_are_refused() -> None:
    with pytest.raises(BadInput, match="there are no checks for studies"):
        check_thing("study", "any")
    with pytest.raises(BadInput, match="there is no enforcer 'cubik'"):
        check_enforcer("cubik")
    with pytest.raises(BadInput, match="enforcer 'plus-sign' is no model") as error:
        check_model(PLUS)  # type: ignore[arg-type]
    assert error.value.next_step == "use check_enforcer"
    with pytest.raises(BadInput, match="has no argument 'wait'"):
        check_enforcer(PLUS, {"wait": 2.0})
    with pytest.raises(BadInput, match="no check is named determinstic"):
        enforcer_checks([PLUS], expected_failures={"determinstic": "x"})


def test_what_cannot_be_built_says_so_once() -> None:
    def absent() -> Any:
        raise Failure("the files are not there")

    def a_string() -> Any:
        return "cubic"

    with pytest.raises(Failure, match="the files are not there"):
        check_dataset(idemlab.DatasetSpec(name="absent", factory=absent, summary=""))
    with pytest.raises(BadInput, match="enforcer 'text' is str, not idemlab's Enforcer"):
        check_enforcer(EnforcerSpec(name="text", factory=a_string, summary=""))


# -- pytest -------------------------------------------------------------------------------------------------------------


def test_the_decorator_makes_one_test_of_each_check() -> None:
    reasons = {WRONG[0]: "the erratum"}
    mark = enforcer_checks([PLUS, (PLUS, {"weight": 2.0})], expected_failures=reasons, quick=True)

    @mark
    def test(check: Any) -> None:
        check()

    (parameters,) = test.pytestmark  # type: ignore[attr-defined]
    ids = [parameter.id for parameter in parameters.args[1]]
    assert parameters.args[0] == "check"
    assert "plus-sign-projection-is-pure" in ids
    assert "plus-sign,weight=2.0-projection-is-pure" in ids
    expected = next(p for p in parameters.args[1] if p.id == "plus-sign-idempotents-stay")
    assert [(m.name, m.kwargs["reason"], m.kwargs["strict"]) for m in expected.marks] == [
        ("xfail", "the erratum", True)
    ]
    with pytest.raises(CheckFailed, match=r"idempotents-stay failed\n  who: enforcer 'plus-sign'"):
        test(expected.values[0])
    test(next(p for p in parameters.args[1] if p.id == "plus-sign-projection-is-pure").values[0])


# -- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plus_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a plugin offered the erratum."""
    larger = installed().including(PLUS)
    for module in ("idemlab.cli.checking", "idemlab.testing.subject"):
        monkeypatch.setattr(f"{module}.installed", lambda: larger)


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *words], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command_shows_a_table() -> None:
    code, output = call("purification", "--quick", "--set", "step=0.5")
    assert code == 0
    assert "idempotents-stay" in output
    assert "enforcer 'purification': 10 passed" in output


@pytest.mark.usefixtures("plus_offered")
@pytest.mark.long
def test_the_command_fails_with_all_there_is_to_say() -> None:
    code, output = call("plus-sign", "--quick")
    assert code == 1
    assert "idempotents-stay failed\n  who: enforcer 'plus-sign'\n" in output
    assert "    reproduce('plus-sign', 'idempotents-stay', matrix=K)" in output


@pytest.mark.usefixtures("plus_offered")
@pytest.mark.long
def test_the_command_expects_failures() -> None:
    expected = [word for check in WRONG for word in ("--expect-failure", f"{check}=the erratum")]
    code, output = call("plus-sign", "--quick", *expected)
    assert code == 0
    assert "failed as expected" in output


def test_the_command_finds_the_kind_and_prints_json() -> None:
    code, output = call("gaussian", "--json")
    assert code == 0
    assert [report["kind"] for report in json.loads(output)] == ["dataset", "source"]
    code, output = call("gaussian", "--kind", "sources", "--set", "scale=2.0", "--json")
    assert (json.loads(output)["kind"], json.loads(output)["arguments"]) == ("source", {"scale": 2.0})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mlp-cubic"], "error: 'mlp-cubic' is of the kind experiment, which has no checks"),
        (["cubic", "--expect-failure", "deterministic"], "error: 'deterministic' is not of the form key=value"),
        (["cubic", "--set", "weight=much"], "error: enforcer 'cubic': 'weight' cannot be \"much\""),
        (["gaussian", "--set", "scale=2.0"], "error: 'gaussian' names 2 things, but arguments and expected"),
        (["gaussian", "--expect-failure", "deterministic=why"], "error: 'gaussian' names 2 things"),
        (["hybrid"], "error: enforcer 'hybrid' needs the argument 'enforcers'"),
    ],
)
def test_the_command_refuses(words: list[str], message: str) -> None:
    code, output = call(*words)
    assert code == 2
    assert output.startswith(message), output


@pytest.mark.long
def test_the_command_leaves_nothing_behind(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    script = "from idemlab.cli import main; main()"
    subprocess.run([sys.executable, "-c", script, "check", "purification", "--quick"], check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idemlab, "testing", idemlab.testing)
    for name in [name for name in sys.modules if name.startswith("idemlab.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, output = call("cubic")
    assert code == 2
    assert "pip install 'idemlab[testing]'" in output
