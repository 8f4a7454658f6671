"""Reading a suite, choosing the arms, and entering an arm in a task at equal counted FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, installed, resolve
from idemlab.standings.entry import arm_of, check_names, entered
from idemlab.standings.league import competing
from idemlab.standings.suite import Suite, find_suite

Write = Callable[..., str]
ANY_TASK = {"title": "x", "experiment": "tiny.toml", "flops": 1.0, "relative": ["a"], "deviation": {"a": 1.0}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trials": 0}, "'trials' cannot be 0"),
        ({"trails": 3}, "no key 'trails'"),
        ({"task": {}}, "'task' cannot be"),
        ({"task__plain": {"title": "x"}}, "lacks the key"),
        ({"quick__tasks": ["plane"]}, "no task 'plane'"),
        ({"quick__arms": ["none", "gradint"]}, "no arm 'gradint'"),
        ({"quick__arms": ["none"]}, "cannot be"),
        ({"arm__none": {"enforcer": "none", "tasks": ["plane"]}}, "no task 'plane'"),
        ({"arm__none": {"enforcer": 3}}, "cannot be 3"),
        ({"task__../x": ANY_TASK}, "'../x' is no name of a file"),
        ({"arm__none": {"enforcer": {"weight": 1.0}}}, "the enforcer of arm 'none' has no name"),
    ],
)
def test_a_wrong_suite_is_refused_by_its_key(write_suite: Write, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        find_suite(write_suite(**changes), installed())
    assert problem in caught.value.what


@pytest.mark.parametrize("name", ["a" * 61, "-a"])
def test_a_name_of_a_task_that_is_too_long_or_an_option_is_told_so(write_suite: Write, name: str) -> None:
    with pytest.raises(BadInput, match="is no name of a file") as caught:
        find_suite(write_suite(**{f"task__{name}": ANY_TASK}), installed())
    assert (
        caught.value.expected == "at most 60 letters, digits, hyphens and underscores, of which the first is no hyphen"
    )


def test_a_suite_that_is_no_file_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("= 3")
    for name in (str(tmp_path / "x.toml"), str(tmp_path / "y.toml")):
        with pytest.raises(BadInput, match="not a suite"):
            find_suite(name, installed())
    with pytest.raises(BadInput, match="there is no suite 'leage'") as caught:
        find_suite("leage", installed())
    assert caught.value.nearest == "league"


@pytest.fixture
def suite(write_suite: Write) -> Suite:
    return find_suite(write_suite(), installed())


@pytest.mark.parametrize(
    ("asked", "quick", "arms"),
    [
        ([], False, ["none", "gradient", "linearizer", "section"]),
        ([], True, ["none", "gradient", "section"]),
        (["gradient", "none"], False, ["gradient", "none"]),
        (["cubic"], True, ["cubic", "none", "gradient"]),
        (["none"], True, ["none", "gradient", "section"]),
        (["cubic", "relative", "limit", "ign"], True, ["cubic", "relative", "limit", "ign", "none"]),
        (["cubic", "relative", "limit", "none"], True, ["cubic", "relative", "limit", "none"]),
    ],
)
def test_the_arms_are_those_that_are_asked_for_and_in_the_quick_version_fixed_ones_too(
    suite: Suite, asked: list[str], quick: bool, arms: list[str]
) -> None:
    assert list(competing(asked, suite, installed(), quick=quick)) == arms


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (["gradient"], "'gradient' alone is not a league"),
        (["gradient", "gradient"], "'gradient' is given twice"),
        (["gradient", "gradeint"], "there is no enforcer 'gradeint'"),
        (["cubic", "cubic-iteration"], "'cubic' is given twice"),
        (["none", "gradient", "gradient-loss"], "'gradient' is given twice"),
        (
            [{"name": "cubic", "weight": 1}, {"name": "cubic-iteration", "weight": 1}],
            "'cubic (weight 1)' is given twice",
        ),
        (["gradient", "hybrid"], "needs 'enforcers', which the league cannot know"),
    ],
)
def test_arms_that_make_no_league_are_refused(suite: Suite, asked: list[Any], problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        competing(asked, suite, installed(), quick=False)
    assert problem in caught.value.what


def test_an_arm_of_ones_own_is_tuned_over_its_weight_unless_that_is_given(suite: Suite) -> None:
    name, arm = arm_of("relative", suite, installed())
    assert (name, arm.over) == ("relative", {"enforcer.weight": "log:0.01:10"})
    name, arm = arm_of({"name": "relative", "weight": 0.5}, suite, installed())
    assert (name, arm.over) == ("relative (weight 0.5)", {})
    assert arm_of("section", suite, installed())[1] is suite.arm["section"]


def _entry(suite: Suite, enforcer: Any, task: str, *, quick: bool = False) -> Any:
    name, arm = arm_of(enforcer, suite, installed())
    return entered(name, arm, task, suite.task[task], suite, installed(), quick=quick)


def test_all_arms_have_the_same_counted_operations(suite: Suite) -> None:
    none, gradient = _entry(suite, "none", "plain"), _entry(suite, "gradient", "plain", quick=True)
    for entry, flops, trials in ((none, 3e5, 2), (gradient, 1e5, 1)):
        tuning, final = entry.tuning, entry.final({"optimizer.lr": 0.01}, 2)
        assert tuning.set["training.flops"] == final.set["training.flops"] == flops
        assert (tuning.trials, tuning.seeds, final.seeds) == (trials, 1, 2)
        assert tuning.set["evaluation.split"] == "validation"
        assert final.set["evaluation.split"] == "test"
    assert none.step_cost == pytest.approx(3, abs=0.5)
    assert gradient.step_cost > none.step_cost + 2
    assert none.call_cost == gradient.call_cost == 1


def test_an_arm_gets_the_rank_and_the_model_that_it_needs_from_the_task(suite: Suite) -> None:
    entry = _entry(suite, "linearizer", "plain")
    assert entry.settings["enforcer"] == {"rank": 2, "name": "linearizer"}
    assert entry.model == "coupling"
    assert _entry(suite, "section", "plain").settings["enforcer"]["rank"] == 2


@pytest.mark.parametrize(
    ("enforcer", "task", "reason"),
    [
        ("linearizer", "sorting", "needs a rank, and the task names none"),
        ("section", "sorting", "does not enter it here"),
        ("rank", "sorting", "needs a rank, and the task names none"),
        ("purification", "plain", "linear"),
        ("alignment", "plain", "needs a model with 'encode'"),
    ],
)
def test_an_arm_that_does_not_fit_a_task_says_why(suite: Suite, enforcer: str, task: str, reason: str) -> None:
    assert reason in _entry(suite, enforcer, task).refused


def test_an_argument_that_is_wrong_is_refused_and_so_is_a_range_that_it_cannot_take(
    suite: Suite, write_suite: Write
) -> None:
    with pytest.raises(BadInput, match="has no argument 'wieght'"):
        _entry(suite, {"name": "gradient", "wieght": 1}, "plain")
    suite = find_suite(
        write_suite(arm__section={"enforcer": "section", "over": {"enforcer.rank": "int:1:0x"}}), installed()
    )
    with pytest.raises(BadInput, match="is not a range"):
        _entry(suite, "section", "plain")
    over = {"enforcer.weight": "uniform:-1:1"}  # the upper end alone is a weight
    suite = find_suite(write_suite(arm__gradient={"enforcer": "gradient", "over": over}), installed())
    with pytest.raises(BadInput, match="'weight' cannot be -1"):
        _entry(suite, "gradient", "plain")


def test_what_no_evaluation_of_a_task_gives_is_refused_before_training(write_suite: Write, suite: Suite) -> None:
    task = suite.task["plain"]
    check_names("plain", task, installed())
    wrongs = {"relative": ["data/relatve"], "deviation": {"data/reconstruction_eror": 1.0}, "columns": {"rnk": "rank"}}
    for key, wrong in wrongs.items():
        with pytest.raises(BadInput) as caught:
            check_names("plain", task.model_copy(update={key: wrong}), installed())
        assert caught.value.where == f"[task.plain], key '{key}'"


def test_the_shipped_suite_names_what_is_there() -> None:
    """Six tasks; every range and key of every arm resolves in each of its tasks."""
    suite, catalog = find_suite("league", installed()), installed()
    assert len(suite.task) == 6
    for task in suite.task.values():
        resolve(task.experiment, catalog=catalog)
        measured = {name.partition("/")[0] for name in (*task.relative, *task.deviation, *task.columns)}
        assert measured <= {"data", *resolve(task.experiment).inputs}
    assert len(suite.quick.tasks) == 2
    assert len(suite.quick.arms) == 4
