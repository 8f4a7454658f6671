"""What Python callers give: whole numbers also of NumPy, one thing or several, a catalog or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import idemlab
from idemlab import BadInput, installed
from idemlab.arguments import several, whole
from idemlab.catalog.catalog import or_installed


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_a_whole_number_may_be_one_of_numpy(value: Any) -> None:
    assert whole(value, "steps") == 3
    assert type(whole(value, "steps")) is int


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", None, np.float64(2), np.bool_(True), [1]])
def test_anything_else_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(BadInput, match="steps cannot be") as caught:
        whole(value, "steps")
    assert caught.value.where == "steps"
    assert caught.value.expected == "a whole number of 1 or more"


def test_one_thing_or_several_become_a_list() -> None:
    assert several("cubic", (), "enforcers", "names") == ["cubic"]
    assert several({"name": "cubic"}, (), "enforcers", "names") == [{"name": "cubic"}]
    assert several(Path("run"), (Path,), "runs", "folders") == [Path("run")]
    assert several(iter(("a", "b")), (), "enforcers", "names") == ["a", "b"]
    for wrong in (3, None, 1.5):
        with pytest.raises(BadInput, match="enforcers cannot be"):
            several(wrong, (), "enforcers", "names")


def test_what_is_no_catalog_is_refused_wherever_one_is_taken(tmp_path: Path) -> None:
    assert or_installed(None) is installed()
    own = installed().including(next(iter(installed().entries("enforcer"))).spec)
    assert or_installed(own) is own
    for call in (
        lambda: idemlab.train("mlp-cubic", tmp_path / "a", catalog=3),  # type: ignore[arg-type]
        lambda: idemlab.resolve("mlp-cubic", catalog="mine"),  # type: ignore[arg-type]
        lambda: idemlab.run_league(out=tmp_path / "b", catalog={}),  # type: ignore[arg-type]
        lambda: idemlab.run_study("iteration", tmp_path / "c", catalog=[]),  # type: ignore[arg-type]
        lambda: idemlab.run_sweep(idemlab.Sweep(experiment="mlp-cubic"), tmp_path / "d", catalog=3),  # type: ignore[arg-type]
        lambda: idemlab.load(tmp_path, catalog=3),  # type: ignore[arg-type]
        lambda: idemlab.apply(idemlab.Run(tmp_path), tmp_path, tmp_path / "e", catalog=[]),  # type: ignore[arg-type]
    ):
        with pytest.raises(BadInput, match="a catalog cannot be"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_calls_of_several_things_say_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="enforcers cannot be 3"):
        idemlab.run_league(3, out=tmp_path / "b")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="runs cannot be null"):
        idemlab.compare(None)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_reach_the_iteration() -> None:
    K = torch.diag(torch.tensor([0.9, 0.6, 0.1], dtype=torch.float64))
    found = idemlab.purify(K, method="trs4", rank=np.int64(2), max_steps=np.int64(50))
    torch.testing.assert_close(found.matrix, torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)))
