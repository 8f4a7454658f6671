"""Checkpoints: whole or not there, verified, pruned last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from idemlab import Failure
from idemlab.runs.weights import read_weights, write_weights
from idemlab.training.checkpoint import latest, load_checkpoint, save_checkpoint


def _trained(steps: int = 3, optimizer: str = "Adam") -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizers = [getattr(torch.optim, optimizer)(net.parameters(), lr=0.1)]
    for _ in range(steps):
        net(torch.randn(4, 3)).square().mean().backward()
        optimizers[0].step()
        optimizers[0].zero_grad()
    return net, optimizers


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "AdamW", "RMSprop"])
def test_weights_buffers_and_optimizer_come_back_bit_for_bit(tmp_path: Path, optimizer: str) -> None:
    net, optimizers = _trained(optimizer=optimizer)
    kept = {"note": "x", "sums": {"loss": (torch.tensor(1 / 3), 2)}}
    path = save_checkpoint(tmp_path, 3, net, optimizers, kept, keep=1)
    other, others = _trained(steps=0, optimizer=optimizer)
    state = load_checkpoint(path, other, others)
    assert state == kept
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    before, after = optimizers[0].state_dict(), others[0].state_dict()
    assert before["param_groups"] == after["param_groups"]
    assert before["state"].keys() == after["state"].keys()
    for index, values in before["state"].items():
        for name, value in values.items():
            same = torch.equal(value, after["state"][index][name]) if isinstance(value, torch.Tensor) else True
            assert same, name


def test_only_the_newest_are_kept_and_no_pickle_is_written(tmp_path: Path) -> None:
    net, optimizers = _trained()
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, step, net, optimizers, {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-10", "step-2"]
    assert latest(tmp_path) == tmp_path / "step-10"
    files = {p.name for p in (tmp_path / "step-10").iterdir()}
    assert files == {"objective.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("name", ["objective.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("fault", ["truncated", "flipped", "removed"])
def test_a_damaged_checkpoint_is_passed_over_with_a_message(tmp_path: Path, name: str, fault: str) -> None:
    net, optimizers = _trained()
    for step in (1, 2):
        save_checkpoint(tmp_path, step, net, optimizers, {}, keep=2)
    file = tmp_path / "step-2" / name
    content = bytearray(file.read_bytes())
    if fault == "removed":
        file.unlink()
    elif fault == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    said: list[str] = []
    assert latest(tmp_path, said.append) == tmp_path / "step-1"
    assert "step-2" in said[0]
    assert "trying the one before" in said[0]


def test_an_equal_checkpoint_is_never_taken_away_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    """A run that fails at the step it resumed from saves that step again; were it killed then, nothing may be lost."""
    net, optimizers = _trained()
    path = save_checkpoint(tmp_path, 3, net, optimizers, {}, keep=1)
    before = path.stat().st_ino
    save_checkpoint(tmp_path, 3, net, optimizers, {}, keep=1)
    assert path.stat().st_ino == before
    (path / "state.json").write_text("{}")
    save_checkpoint(tmp_path, 3, net, optimizers, {}, keep=1)
    assert latest(tmp_path, pytest.fail) == path
    assert [p.name for p in tmp_path.iterdir()] == ["step-3"]


def test_an_unfinished_checkpoint_is_not_counted(tmp_path: Path) -> None:
    net, optimizers = _trained()
    save_checkpoint(tmp_path, 1, net, optimizers, {}, keep=2)
    (tmp_path / "step-2.tmp").mkdir()
    assert latest(tmp_path) == tmp_path / "step-1"
    assert latest(tmp_path / "nowhere") is None


def test_a_manifest_that_lists_too_little_is_a_fault(tmp_path: Path) -> None:
    net, optimizers = _trained()
    path = save_checkpoint(tmp_path, 1, net, optimizers, {}, keep=2)
    (path / "manifest.json").write_text(json.dumps({}))
    said: list[str] = []
    assert latest(tmp_path, said.append) is None
    assert "does not list" in said[0]


def test_a_disk_that_refuses_keeps_the_older_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, optimizers = _trained()
    save_checkpoint(tmp_path, 1, net, optimizers, {}, keep=1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("idemlab.runs.weights.save_file", full)
    with pytest.raises(Failure, match="No space left") as caught:
        save_checkpoint(tmp_path, 2, net, optimizers, {}, keep=1)
    assert "resume the run" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]


def test_weights_alone_and_damaged_weights(tmp_path: Path) -> None:
    net, _ = _trained()
    write_weights(tmp_path / "w.safetensors", net, {"shape": "[3]"})
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["0.weight"], net[0].weight)
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(Failure, match="cannot read the weights"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(Failure):
        read_weights(tmp_path / "missing.safetensors")
