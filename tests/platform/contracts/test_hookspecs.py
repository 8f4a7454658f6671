"""Each hook is documented by one sentence and a complete plugin, and these plugins run."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import nn

from idemlab import (
    BadInput,
    Batch,
    Catalog,
    Dataset,
    EnforcerKind,
    ExperimentSpec,
    Material,
    Metric,
    Orbit,
    Source,
    Step,
    Study,
    StudySpec,
    SuiteSpec,
    Traits,
    resolve,
    run_sweep,
)
from idemlab.catalog import loading
from idemlab.catalog.named import Named
from idemlab.catalog.provided import Provided
from idemlab.contracts.hookspecs import PROJECT, HookSpecs
from idemlab.contracts.specs import KINDS
from idemlab.standings.suite import find_suite

HOOKS: dict[str, Callable[..., Any]] = dict(inspect.getmembers(HookSpecs, inspect.isfunction))

PAPER = """
[dataset]
name = "gaussian"

[model]
name = "mlp"

[training]
steps = 5
"""


def example(hook: str) -> str:
    """The code below ``Example::``."""
    _, _, code = inspect.getdoc(HOOKS[hook]).partition("Example::\n")  # type: ignore[union-attr]
    return dedent(code)


PLURALS = {kind: f"{kind}s" for kind in KINDS} | {"study": "studies"}


def test_there_is_one_hook_for_every_kind() -> None:
    assert {hook: f"provide_{PLURALS[kind]}" for hook, kind in loading.HOOKS.items()} == {hook: hook for hook in HOOKS}
    assert list(loading.HOOKS.values()) == list(KINDS)
    assert PROJECT == "idemlab"


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_a_hook_is_one_sentence_and_an_example(hook: str) -> None:
    sentence, rest = inspect.getdoc(HOOKS[hook]).split("\n\n", 1)  # type: ignore[union-attr]
    assert re.fullmatch(r"Yield the [^.\n]*\.", sentence)
    assert PLURALS[loading.HOOKS[hook]] in sentence.replace("data sets", "datasets")
    assert rest.startswith("Example::\n")


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_an_example_is_a_plugin_that_imports_no_torch_when_listed(hook: str) -> None:
    tree = ast.parse(example(hook))
    imported = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {getattr(node, "module", None) or node.names[0].name for node in imported}
    assert "idemlab" in modules
    assert modules <= {"idemlab", "annotated_types", "pathlib", "typing"}
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook]
    assert [ast.unparse(decorator) for decorator in function.decorator_list] == ["hookimpl"]


@pytest.fixture
def offered(
    request: pytest.FixtureRequest, site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]
) -> tuple[Catalog, Provided]:
    """The catalog with the example of one hook as a plugin, and the one thing it offers."""
    for folder, name, text in (("experiments", "paper", PAPER), ("suites", "mine", "")):
        (site / folder).mkdir()
        (site / folder / f"{name}.toml").write_text(text)
    install("example", example(request.param))
    found = catalog(strict=True)
    (entry,) = own(found)
    assert entry.spec.kind == loading.HOOKS[request.param]
    assert entry.spec.summary
    return found, entry


def own(found: Catalog) -> list[Provided]:
    """What the example offers, without what every catalog has."""
    return [entry for entry in found if entry.plugin.distribution in ("example", "everything")]


def built(offered: tuple[Catalog, Provided], *positional: Any, **arguments: Any) -> Any:
    found, entry = offered
    return found.check(entry.spec.kind, {"name": entry.spec.name, **arguments}, "here").build(*positional)


def located(offered: tuple[Catalog, Provided]) -> Any:
    _, entry = offered
    return Named(entry.spec.name, entry).build()


def only(hook: str) -> Callable[..., Any]:
    return pytest.mark.parametrize("offered", [hook], indirect=True)


@only("provide_models")
def test_the_model_keeps_the_shape(offered: tuple[Catalog, Provided]) -> None:
    operator = built(offered, (2, 3), bias=False)
    assert isinstance(operator, nn.Module)
    assert operator(torch.zeros(5, 2, 3)).shape == (5, 2, 3)
    assert sum(p.numel() for p in operator.parameters()) == 36


@only("provide_datasets")
def test_the_dataset_is_a_circle(offered: tuple[Catalog, Provided]) -> None:
    dataset = built(offered, points=100)
    assert isinstance(dataset, Dataset)
    assert dataset.shape == (2,)
    assert len(dataset.train) == len(dataset.test) == 50
    points = dataset.train.__getitems__(list(range(50))).input
    torch.testing.assert_close(points.norm(dim=1), torch.ones(50))


@only("provide_enforcers")
def test_the_enforcer_is_the_mean_squared_residual(offered: tuple[Catalog, Provided]) -> None:
    found, entry = offered
    enforcer = built(offered, weight=3.0)
    operator = nn.Linear(4, 4, bias=False).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    loss = enforcer(Orbit(operator, x), Step()).loss
    once = operator(x)
    torch.testing.assert_close(loss, 3 * (operator(once) - once).square().mean(1))
    traits = found.check("enforcer", entry.spec.name, "here").traits()
    assert traits == Traits(kinds=frozenset({EnforcerKind.LOSS}), orthogonally_equivariant=True, live_depth=1)


@only("provide_sources")
def test_the_source_fills_the_cube(offered: tuple[Catalog, Provided]) -> None:
    source = built(offered, bound=2.0)
    assert isinstance(source, Source)
    data = torch.zeros(1000, 3)
    points, targets, _ = source.sample(Batch(data, data, None), Step(), nn.Identity())
    assert points.shape == data.shape
    assert targets is None
    assert -2 <= float(points.min()) < -1.9
    assert 1.9 < float(points.max()) <= 2


@only("provide_metrics")
def test_the_metric_is_the_largest_change(offered: tuple[Catalog, Provided]) -> None:
    metric = built(offered)
    assert isinstance(metric, Metric)
    x = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    (figure,) = metric(Orbit(nn.Hardtanh(), x), Batch(x, x, None)).values()
    assert figure.tolist() == [1.0, 2.0]


@only("provide_optimizers")
def test_the_optimizer_takes_steps_of_the_sign(offered: tuple[Catalog, Provided]) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -1.0]))
    optimizer = built(offered, [parameter], lr=0.25)
    parameter.grad = torch.tensor([5.0, -0.5])
    optimizer.step()
    assert parameter.tolist() == [0.75, -0.75]


@only("provide_schedules")
def test_the_schedule_falls_as_a_square_root(offered: tuple[Catalog, Provided]) -> None:
    curve = built(offered, share=0.5)
    assert [curve(0.0), curve(0.0 + 3 * 0.5)] == [1.0, 0.5]


@only("provide_trackers")
def test_the_tracker_writes_lines(offered: tuple[Catalog, Provided], tmp_path: Path) -> None:
    tracker = built(offered, file=str(tmp_path / "log.txt"))
    tracker.store_init_configuration({"steps": 2})
    tracker.log({"loss": 0.5}, step=1)
    assert (tmp_path / "log.txt").read_text() == "{'steps': 2}\n1 {'loss': 0.5}\n"


@only("provide_experiments")
def test_the_experiment_resolves_by_its_name(offered: tuple[Catalog, Provided], site: Path) -> None:
    found, entry = offered
    assert isinstance(entry.spec, ExperimentSpec)
    assert located(offered) == site / "experiments" / "paper.toml"
    with pytest.raises(BadInput, match="there is no dataset 'gaussian'"):  # found and read, in a catalog of one thing
        resolve("paper", catalog=found)


@pytest.mark.long
@only("provide_studies")
def test_the_study_runs_and_finds_that_a_full_step_is_best(offered: tuple[Catalog, Provided], tmp_path: Path) -> None:
    assert isinstance(offered[1].spec, StudySpec)
    study = built(offered)
    assert isinstance(study, Study)
    results = run_sweep(study.sweeps["step"], tmp_path / "sweep")
    findings = study.examine(Material({"step": results}, quick=False, say=print))
    assert [claim.holds for claim in findings.claims] == [True]
    assert findings.tables["steps"]["enforcer.step"].tolist() == [0.5, 1.0]


@only("provide_suites")
def test_the_suite_is_found_by_its_name_and_read(offered: tuple[Catalog, Provided], site: Path) -> None:
    assert isinstance(offered[1].spec, SuiteSpec)
    assert located(offered) == site / "suites" / "mine.toml"
    with pytest.raises(BadInput, match="the suite lacks the key 'summary'"):
        find_suite("mine", offered[0])


def test_all_examples_together_are_one_plugin(
    site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]
) -> None:
    (site / "experiments").mkdir()
    install("everything", "\n".join(example(hook) for hook in HOOKS))
    found = catalog(strict=True)
    names: Sequence[str] = [entry.spec.name for entry in own(found)]
    assert names == [
        *("affine", "circle", "squared", "uniform", "largest-change", "lion", "square-root", "lines", "steps", "mine"),
    ]
    assert math.isclose(found.check("source", "uniform", "here").arguments["bound"], 1.0)
