"""What becomes of plugins that are broken, and which of the installed ones are loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

import idemlab
from idemlab import BadInput, Catalog, Failure
from idemlab.catalog.catalog import installed
from idemlab.catalog.provided import Plugin
from idemlab.contracts.specs import KINDS

Install = Callable[..., None]
Load = Callable[..., Catalog]

PREAMBLE = "from idemlab import EnforcerSpec, MetricSpec, ModelSpec, hookimpl\n"


def names(catalog: Catalog) -> list[str]:
    """What plugins offer, without what every catalog has."""
    return [entry.full_name for entry in catalog if entry.plugin in catalog.plugins]


def test_a_good_plugin_is_listed_by_kind_and_name(install: Install, catalog: Load, good_code: str) -> None:
    install("good-one", good_code, plugin="main", version="1.2")
    found = catalog()
    assert found.failures == []
    assert found.plugins == [Plugin("main", "good-one", "1.2", "good_one")]
    assert str(found.plugins[0]) == "good-one 1.2, plugin 'main'"
    assert names(found) == ["good-one:net", "good-one:many", "good-one:pull", "good-one:noise"]
    assert [entry.spec.name for entry in found.entries("enforcer")] == ["many", "pull"]
    assert found.entries("metric") == []


BROKEN: dict[str, tuple[str | None, str, str]] = {
    # what is wrong: (code, cause, fix)
    "no module": (
        None,
        "cannot be loaded: ModuleNotFoundError: No module named 'broken'",
        "pip install --upgrade broken",
    ),
    "import error": ("import nopackage.inner", "No module named 'nopackage'", "pip install nopackage, or leave"),
    "own import error": ("import broken.inner", "No module named 'broken.inner'", "pip install --upgrade broken"),
    "another idemlab": ("import idemlab.nosuch", "No module named 'idemlab.nosuch'", "pip install --upgrade broken"),
    "name gone": (
        "from idemlab import NoSuch",
        "ImportError: cannot import name 'NoSuch'",
        "pip install --upgrade broken",
    ),
    "syntax error": ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)", "pip install --upgrade broken"),
    "exit": ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3", "pip install --upgrade broken"),
    "silent exit": ("raise SystemExit", "cannot be loaded: SystemExit", "pip install --upgrade broken"),
    "misspelt hook": (
        PREAMBLE + "@hookimpl\ndef provide_enforcer(): yield 1",
        "unknown hook 'provide_enforcer'",
        "name its hooks provide_models, provide_datasets",
    ),
    "hook with argument": (
        PREAMBLE + "@hookimpl\ndef provide_models(config): yield 1",
        "{'config'} are declared in the hookimpl",
        "without arguments",
    ),
    "hook without mark": ("def provide_models(): yield 1", "offers nothing", "with @idemlab.hookimpl"),
    "hook raises": (
        PREAMBLE + "@hookimpl\ndef provide_models(): raise RuntimeError('first\\nsecond')",
        "its hook provide_models raised RuntimeError: first second",
        "pip install --upgrade broken",
    ),
    "hook misses a package": (
        PREAMBLE + "@hookimpl\ndef provide_models():\n    import nopackage",
        "its hook provide_models raised ModuleNotFoundError",
        "pip install nopackage",
    ),
    "hook exits": (
        PREAMBLE + "@hookimpl\ndef provide_models(): raise SystemExit",
        "its hook provide_models raised SystemExit",
        "pip install --upgrade broken",
    ),
    "hook returns None": (
        PREAMBLE + "@hookimpl\ndef provide_models(): ModelSpec(name='m', factory=print, summary='')",
        "its hook provide_models raised TypeError: it returned None, not specs",
        "pip install --upgrade broken",
    ),
    "hook returns one": (
        PREAMBLE + "@hookimpl\ndef provide_models(): return ModelSpec(name='m', factory=print, summary='')",
        "'ModelSpec' object is not iterable",
        "pip install --upgrade broken",
    ),
    "wrong spec": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield MetricSpec(name='m', factory=lambda: 0, summary='')",
        "its hook provide_models yielded MetricSpec, not ModelSpec",
        "yield ModelSpec(name=..., factory=..., summary=...) there",
    ),
    "no spec": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield 'affine'",
        "its hook provide_models yielded str, not ModelSpec",
        "yield ModelSpec(",
    ),
    "bad name": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='My Metric', factory=lambda: 0, summary='')",
        "its hook provide_metrics raised ValueError: MetricSpec name 'My Metric'",
        "pip install --upgrade broken",
    ),
    "too new": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda: 0, summary='', api_version=9)",
        "metric 'm' is written for api_version 9, but this idemlab supports none later than 1",
        "pip install --upgrade idemlab",
    ),
    "too old": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda: 0, summary='', api_version=0)",
        "metric 'm' is written for api_version 0, but this idemlab supports none earlier than 1",
        "pip install --upgrade broken",
    ),
    "wrong traits": (
        "from idemlab import EnforcerSpec, hookimpl\n@hookimpl\n"
        "def provide_enforcers(): yield EnforcerSpec(name='e', factory=lambda: 0, summary='', traits={'smooth': True})",
        "enforcer 'e': its traits are a dict, not Traits",
        "give it traits=Traits(...), or a function of its arguments that returns one",
    ),
    "no annotations": (
        PREAMBLE + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda x: 0, summary='')",
        "metric 'm': argument 'x' of <lambda> has no annotation",
        "make it a plain function whose arguments are annotated",
    ),
    "unreadable annotation": (
        PREAMBLE
        + "import math\ndef f(x: 'math.nope'): ...\n"
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=f, summary='')",
        "metric 'm': an annotation of f cannot be read: AttributeError",
        "make it a plain function",
    ),
    "model without shape": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield ModelSpec(name='m', factory=lambda: 0, summary='')",
        "model 'm': <lambda> takes no argument, but must take the shape of a sample, or the parameters to train, first",
        "make it a plain function",
    ),
    "conditional without classes": (
        PREAMBLE
        + "def f(shape: tuple[int, ...], width: int = 8): ...\n"
        + "@hookimpl\ndef provide_models(): yield ModelSpec(name='m', factory=f, summary='', conditional=True)",
        "model 'm': it is conditional, and its second argument is 'width', not 'classes'",
        "make it a plain function",
    ),
    "conditional without a second argument": (
        PREAMBLE
        + "def f(shape: tuple[int, ...]): ...\n"
        + "@hookimpl\ndef provide_models(): yield ModelSpec(name='m', factory=f, summary='', conditional=True)",
        "model 'm': f takes one argument, but must take the shape of a sample and the number of classes first",
        "make it a plain function",
    ),
    "a key of the platform": (
        "from idemlab import DatasetSpec, hookimpl\ndef f(condition: int = 8): ...\n"
        + "@hookimpl\ndef provide_datasets(): yield DatasetSpec(name='d', factory=f, summary='')",
        "dataset 'd': argument 'condition' has the name of a key that every dataset has: rename it",
        "make it a plain function",
    ),
    "twice": (
        PREAMBLE + "@hookimpl\ndef provide_metrics(): return 2 * [MetricSpec(name='m', factory=lambda: 0, summary='')]",
        "metric 'm' is offered twice by broken",
        "rename one of the two",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_plugin_is_told_and_stops_nobody(case: str, install: Install, catalog: Load, good_code: str) -> None:
    code, cause, fix = BROKEN[case]
    install("broken", code, version="0.3")
    install("good", good_code)
    found = catalog()
    (failure,) = found.failures
    assert cause in failure.cause
    assert fix in failure.fix
    assert "\n" not in failure.cause
    assert (failure.plugin.distribution, failure.plugin.version) == ("broken", "0.3")
    assert [name for name in names(found) if name.startswith("good:")] == [
        "good:net",
        "good:many",
        "good:pull",
        "good:noise",
    ]


@pytest.mark.parametrize("case", list(BROKEN))
def test_strict_raises_at_the_first_broken_plugin(case: str, install: Install, catalog: Load) -> None:
    code, cause, fix = BROKEN[case]
    install("broken", code, version="0.3")
    with pytest.raises(Failure) as caught:
        catalog(strict=True)
    assert cause in caught.value.what
    assert caught.value.where == "broken 0.3, plugin 'broken'"
    assert fix in str(caught.value.next_step)


def test_what_is_good_of_a_plugin_is_kept(install: Install, catalog: Load) -> None:
    install(
        "half",
        PREAMBLE
        + """
@hookimpl
def provide_models(): raise RuntimeError("no models today")

@hookimpl
def provide_metrics():
    yield MetricSpec(name="bad", factory=lambda x: 0, summary="")
    yield MetricSpec(name="good", factory=lambda: 0, summary="")
""",
    )
    found = catalog()
    assert names(found) == ["half:good"]
    assert len(found.failures) == 2
    assert len(found.plugins) == 1


def test_a_plugin_may_offer_nothing_for_now(install: Install, catalog: Load) -> None:
    install("empty", PREAMBLE + "@hookimpl\ndef provide_models(): return []")
    found = catalog()
    assert found.failures == []
    assert names(found) == []
    assert len(found.plugins) == 1


def test_experiments_may_be_any_callable(install: Install, catalog: Load) -> None:
    install(
        "papers",
        """
        from functools import partial
        from pathlib import Path
        from idemlab import ExperimentSpec, hookimpl

        @hookimpl
        def provide_experiments():
            yield ExperimentSpec(name="paper", factory=partial(Path, "paper.toml"), summary="")
        """,
    )
    assert names(catalog(strict=True)) == ["papers:paper"]


# -- what is installed -------------------------------------------------------------------------------------------------


def visible(monkeypatch: pytest.MonkeyPatch, plugins: str | None, strict: str | None = None) -> Catalog:
    """The installed catalog under these two environment variables, loaded afresh."""
    for variable, value in (("IDEMLAB_PLUGINS", plugins), ("IDEMLAB_STRICT", strict)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    return installed.__wrapped__()


@pytest.mark.parametrize(
    ("plugins", "distributions"),
    [
        ("corner", ["shop"]),
        ("shop", ["shop"]),
        (" shop , stall", ["shop", "stall"]),
        ("stall,corner", ["shop", "stall"]),
        ("shop,", ["shop"]),
        ("models,shop", ["idemlab", "shop"]),
        ("", []),
        (" , ", []),
    ],
)
def test_idemlab_plugins_chooses_by_plugin_or_distribution(
    plugins: str, distributions: list[str], install: Install, monkeypatch: pytest.MonkeyPatch, good_code: str
) -> None:
    install("shop", good_code, plugin="corner")
    install("stall", good_code)
    found = visible(monkeypatch, plugins)
    assert sorted({plugin.distribution for plugin in found.plugins}) == distributions
    assert found.failures == []


def test_a_chosen_plugin_that_is_not_there_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, good_code: str
) -> None:
    install("shop", good_code, plugin="corner")
    with pytest.raises(BadInput) as caught:
        visible(monkeypatch, "models,cornr")
    assert caught.value.what == "there is no plugin 'cornr'"
    assert caught.value.where == "the environment variable IDEMLAB_PLUGINS"
    assert {"corner", "shop", "idemlab", "models"} <= set(caught.value.choices)
    assert caught.value.nearest == "corner"
    assert caught.value.next_step == "unset IDEMLAB_PLUGINS to load all of them"


def test_all_are_loaded_without_the_variable(install: Install, monkeypatch: pytest.MonkeyPatch, good_code: str) -> None:
    install("shop", good_code)
    found = visible(monkeypatch, None)
    plugins = {str(plugin.distribution) for plugin in found.plugins}
    assert {"idemlab", "shop"} <= plugins


def test_a_plugin_that_is_left_out_is_not_even_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch, good_code: str
) -> None:
    install("shop", good_code)
    install("broken", "raise SystemExit(1)")
    assert visible(monkeypatch, "shop", strict="1").failures == []
    assert "broken" not in sys.modules


@pytest.mark.parametrize("strict", [None, "", "0"])
def test_a_failure_is_kept_unless_strict(strict: str | None, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken", "import nopackage")
    (failure,) = visible(monkeypatch, "broken", strict).failures
    assert failure.plugin.distribution == "broken"


def test_idemlab_strict_raises(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken", "import nopackage")
    with pytest.raises(Failure, match="plugin broken cannot be loaded: ModuleNotFoundError"):
        visible(monkeypatch, "broken", "1")


def test_the_catalog_is_loaded_once() -> None:
    assert installed() is installed()
    assert idemlab.installed is installed


def test_what_idemlab_ships_loads_without_failure_and_is_named_well(monkeypatch: pytest.MonkeyPatch) -> None:
    found = visible(monkeypatch, "idemlab", "1")
    for entry in found:
        assert entry.spec.summary, entry.full_name
        assert "\n" not in entry.spec.summary, entry.full_name
        assert found.find(entry.spec.kind, entry.spec.name) is entry
    kinds = {entry.spec.kind for entry in found}
    assert kinds >= set(KINDS) - {"study"}


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys, idemlab; names = [entry.full_name for entry in idemlab.installed()]; assert names\n"
        "print(*sorted({'torch', 'numpy', 'pydantic', 'datasets', 'torchvision', 'accelerate'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
