"""A catalog of small things to compose experiments of, and ways to write files and to see what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Catalog, resolve

SHOP = """
from pathlib import Path
from typing import Annotated, Literal
from annotated_types import Ge, Gt
from idemlab import (
    DatasetSpec, EnforcerSpec, ExperimentSpec, MetricSpec, ModelSpec, SourceSpec, hookimpl
)

FILES = Path(__file__).parent / "experiments"

def balls(count: Annotated[int, Gt(0)] = 8, root: Path | None = None): ...
def net(shape: tuple[int, ...], width: Annotated[int, Gt(0)] = 16, norm: Literal["group", "none"] = "group"): ...
def none(): ...
def pull(weight: Annotated[float, Ge(0)] = 1.0, limit: int | None = None): ...
def push(force: float = 2.0): ...
def many(members: "list[Enforcer]"): ...
def data(): ...
def noise(scale: Annotated[float, Gt(0)] = 1.0, shape: tuple[int, ...] = (2, 3)): ...
def worn(strength: float = 0.5): ...
def error(): ...
def fails(): raise RuntimeError("no file today")

def offer(spec, *factories):
    return [spec(name=factory.__name__, factory=factory, summary="") for factory in factories]

@hookimpl
def provide_datasets(): return offer(DatasetSpec, balls)

@hookimpl
def provide_models(): return offer(ModelSpec, net)

@hookimpl
def provide_enforcers(): return offer(EnforcerSpec, none, pull, push, many)

@hookimpl
def provide_sources(): return offer(SourceSpec, data, worn) + [
    SourceSpec(name="noise", factory=noise, summary="", aliases=("gaussian",))
]

@hookimpl
def provide_metrics(): return offer(MetricSpec, error)

@hookimpl
def provide_experiments():
    yield from offer(ExperimentSpec, fails)
    for path in sorted(FILES.glob("*.toml")):
        yield ExperimentSpec(name=path.stem, factory=lambda path=path: path, summary="")
"""

PAPER = """
summary = "A paper."

[dataset]
name = "balls"

[model]
name = "net"
width = 32

[enforcer]
name = "pull"
weight = 20.0
limit = 3

[optimizer]
name = "adam"
lr = 0.1
betas = [0.5, 0.9]

[training]
steps = 100
batch_size = 8
"""


@pytest.fixture
def shop(site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]) -> Catalog:
    """A catalog of small things, with the registered experiment `paper`."""
    (site / "experiments").mkdir()
    (site / "experiments" / "paper.toml").write_text(PAPER)
    install("shop", SHOP)
    return catalog(strict=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a file below the test's folder."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


@pytest.fixture
def table() -> dict[str, Any]:
    """The least that an experiment can say."""
    return {"dataset": "balls", "model": "net", "training": {"steps": 5}}


@pytest.fixture
def paper() -> str:
    """The file of the registered experiment."""
    return PAPER


@pytest.fixture
def refused(shop: Catalog) -> Callable[..., BadInput]:
    """A function that gives the error that resolving ends in."""

    def error(reference: Any, *overrides: str) -> BadInput:
        with pytest.raises(BadInput) as caught:
            resolve(reference, overrides, catalog=shop)
        assert caught.value.exit_code == 2
        return caught.value

    return error
