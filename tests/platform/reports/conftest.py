"""Runs whose operators are known, and images to apply them to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from idemlab import resolve
from idemlab.objective.parts import build_operator
from idemlab.runs.weights import write_weights

Pixels = NDArray[np.uint8]


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """A function that makes a run whose operator is x -> factor x."""

    def make(folder: Path, shape: tuple[int, ...], range: tuple[float, float] | None, factor: float = 0.5) -> Path:
        experiment = resolve(
            {
                "dataset": {"name": "gaussian", "shape": list(shape)},
                "model": {"name": "linear", "init": "identity", "scale": 0.0},
                "training": {"steps": 1},
            }
        )
        folder.mkdir(parents=True)
        (folder / "experiment.toml").write_text(experiment.to_toml())
        operator = build_operator(experiment, shape)
        with torch.no_grad():
            for parameter in operator.parameters():
                parameter.mul_(factor)
        sample = json.dumps({"shape": shape, "range": range})
        write_weights(folder / "operator.safetensors", operator, {"sample": sample})
        return folder

    return make


@pytest.fixture
def grey(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    """Grey images, 4 pixels high and 6 wide, -1 black and 1 white; f halves them, towards middle grey."""
    return make_run(tmp_path / "grey", (1, 4, 6), (-1.0, 1.0))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """An empty folder for the images."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def picture() -> Callable[..., Pixels]:
    """A function that writes an image (a ramp, if no pixels are given) and returns its pixels."""

    def write(path: Path, pixels: Any = None, **options: Any) -> Pixels:
        ramp = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
        values = ramp if pixels is None else np.asarray(pixels, dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path, **options)
        return values

    return write


@pytest.fixture
def untouched(tmp_path: Path) -> Callable[[], None]:
    """A function that checks that nothing was written, not even in part."""

    def check() -> None:
        assert {path.name for path in tmp_path.iterdir()} <= {"grey", "in", "other"}

    return check
