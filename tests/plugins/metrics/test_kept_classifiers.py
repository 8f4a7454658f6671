"""The classifier's place on disk: it is trained once, and again only where its files are damaged or cannot be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from idemlab_metrics import cache, cnn
from idemlab_metrics.cnn import Classifier, Cnn

pytestmark = pytest.mark.usefixtures("few_steps")

CLASSES = 4


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Trainings, which take no time here."""
    trained: list[int] = []

    def train(self: Cnn) -> Classifier:
        trained.append(1)
        with cnn._apart():
            return Classifier(1, CLASSES)

    monkeypatch.setattr(Cnn, "trained", train)
    return trained


@pytest.fixture
def next_process(dataset, weights) -> Callable[[], torch.Tensor]:
    """A function that gives the weights of the classifier as another process finds them."""

    def start() -> torch.Tensor:
        cnn._known.clear()
        return weights(Cnn(dataset()))

    return start


def test_it_is_trained_once_and_then_read(counted, tmp_path, dataset, weights, next_process):
    first = weights(Cnn(dataset()))
    assert torch.equal(weights(Cnn(dataset())), first)
    assert torch.equal(next_process(), first)
    assert len(counted) == 1
    folder = tmp_path / "extractors" / Cnn(dataset()).name
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-written is left
    assert json.loads((folder / "card.json").read_text())["name"] == folder.name


def damaged(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        damaged,
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: (folder / "card.json").write_text("{"),
        lambda folder: (folder / "card.json").write_text("[]"),
        lambda folder: (folder / "card.json").write_text("{}"),
    ],
    ids=["changed", "weights missing", "broken card", "strange card", "empty card"],
)
def test_what_is_damaged_on_disk_is_trained_anew(harm, counted, tmp_path, dataset, weights, next_process):
    first = weights(Cnn(dataset()))
    folder = tmp_path / "extractors" / Cnn(dataset()).name
    harm(folder)
    assert torch.equal(next_process(), first)
    assert len(counted) == 2
    assert torch.equal(next_process(), first)  # and kept again
    assert len(counted) == 2


def test_weights_that_are_no_safetensors_are_not_taken(tmp_path):
    folder = tmp_path / "extractors" / "cnn-0"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"no weights")
    (folder / "card.json").write_text(json.dumps({"sha256": cache.sha256(folder / "weights.safetensors")}))
    assert cache.kept("cnn-0") is None


def test_whoever_is_first_stays(tmp_path):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    cache.keep("cnn-0", first, {})
    cache.keep("cnn-0", second, {})
    assert torch.equal(cache.kept("cnn-0")["weight"], first.weight)


def test_a_folder_that_cannot_be_written_costs_only_the_training(monkeypatch, tmp_path, counted, dataset, images_of):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "file"))
    assert Cnn(dataset())(images_of(dataset(), 3)).shape == (3, 64)
    assert len(counted) == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_write_that_fails_leaves_nothing(monkeypatch, tmp_path):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    cache.keep("cnn-0", nn.Linear(2, 2), {})
    assert list((tmp_path / "extractors").iterdir()) == []


def test_without_a_variable_it_is_kept_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("IDEMLAB_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "idemlab" / "extractors"
