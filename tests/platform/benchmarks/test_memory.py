"""Bytes that are alive, and bytes that are free."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from idemlab.benchmarks.memory import LiveBytes, most_bytes, total_bytes
from idemlab.system import memory


def test_live_bytes_follow_what_is_made_and_dropped() -> None:
    before = torch.zeros(1000)
    with LiveBytes() as live:
        a = torch.zeros(100)
        view = a.view(10, 10)
        before.add_(1)
        before.view(10, 100)
        assert (live.now, live.most) == (400, 400)
        del a
        assert live.now == 400, "a view keeps it"
        del view
        assert (live.now, live.most) == (0, 400)
        torch.ones(50)
    assert (live.now, live.most) == (0, 400)


def test_what_the_backward_needs_is_alive_until_it_has_run() -> None:
    layers = nn.Sequential(*[layer for _ in range(8) for layer in (nn.Linear(10, 10, bias=False), nn.Tanh())])
    x = torch.randn(100, 10)

    def with_gradient() -> None:
        layers(x).sum().backward()
        layers.zero_grad()

    def without() -> None:
        with torch.no_grad():
            layers(x)

    activation, cpu = 4 * x.numel(), torch.device("cpu")
    assert most_bytes(without, cpu) == 2 * activation
    assert 8 * activation < most_bytes(with_gradient, cpu) < 13 * activation


def test_shared_memory_counts_once() -> None:
    a = torch.zeros(10)
    assert total_bytes([a, a.view(2, 5), torch.zeros(5)]) == 60


def test_free_memory_is_the_least_of_what_machine_and_container_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = memory.free_memory()
    assert whole is not None
    assert 1e8 < whole < 1e14
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("12345\n")
    none.write_text("max\n")
    monkeypatch.setattr(memory, "_GROUPS", (str(none), str(limit), str(tmp_path / "missing")))
    assert memory.free_memory() == 12345
