"""A tiny experiment on registered names, and fake plugins, for the tests of the platform."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idemlab import Batch, Catalog, TensorRows

OWN = runpy.run_path(str(Path(__file__).with_name("own_parts.py")), run_name="own_parts")

TINY: dict[str, Any] = {
    "summary": "tiny",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "optimizer": {"name": "adam", "lr": 0.01},
    "training": {"steps": 12, "batch_size": 16, "log_every": 4, "checkpoint_every": 5},
    "evaluation": {"every": 6, "rank_points": 2, "metrics": ["reconstruction-error"]},
}


@pytest.fixture
def tiny(changing: Callable[..., Callable[..., dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """A function that gives the tiny experiment's table with whole tables or single keys (`table__key`) replaced."""
    return changing(TINY)


@pytest.fixture
def module() -> nn.Module:
    """A network of a caller's own."""
    torch.manual_seed(1)
    made: nn.Module = OWN["network"]()
    return made


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    """Data of a caller's own, to train on and to test on."""
    made: tuple[Tensor, Tensor] = OWN["tensors"]()
    return made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on `sys.path` whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Callable[..., None]:
    """A function that installs a fake distribution with one plugin: a module of the given code (None: no module)."""

    def make(distribution: str, code: str | None, *, plugin: str | None = None, version: str = "1.0") -> None:
        module = distribution.replace("-", "_")
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[idemlab]\n{plugin or module} = {module}\n")
        if code is not None:
            (site / f"{module}.py").write_text(dedent(code))

    return make


@pytest.fixture
def catalog(site: Path) -> Callable[..., Catalog]:
    """A function that loads the catalog of the fake distributions, and of them alone."""

    def load(*, strict: bool = False) -> Catalog:
        points = [point for dist in distributions(path=[str(site)]) for point in dist.entry_points]
        return Catalog(sorted(points, key=lambda point: point.name), strict=strict)

    return load


class _OneByOne:
    def __init__(self, inside: TensorRows) -> None:
        self.inside = inside

    def __len__(self) -> int:
        return len(self.inside)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.inside.__getitems__(indices)


@pytest.fixture
def elsewhere() -> Callable[[Any], Any]:
    """A function that gives a set in memory as a map-style set that is not."""
    return _OneByOne
