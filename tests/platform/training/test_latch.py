"""The latch keeps the first bad step of each loss, and what a log adds up survives a checkpoint."""

from __future__ import annotations

import torch

from idemlab.objective.engines import Single
from idemlab.training.latch import Latch
from idemlab.training.log import Sums

NAN, INF = float("nan"), float("inf")


def test_the_first_bad_step_of_each_replica_is_kept() -> None:
    latch = Latch(Single(), shape=(3,))
    assert latch.first_bad_steps() == [None, None, None]
    for step, losses in enumerate([[1.0, 2.0, 3.0], [1.0, NAN, 3.0], [INF, 2.0, 3.0], [NAN, NAN, 3.0]]):
        latch.see(torch.tensor(losses), step)
    assert latch.first_bad_steps() == [2, 1, None]


def test_a_single_loss_is_one_of_a_kind() -> None:
    latch = Latch(Single())
    assert not latch.see(torch.tensor(1.0), 6)
    assert latch.see(torch.tensor(-INF), 7)  # on a CPU it is read at once
    latch.see(torch.tensor(1.0), 8)
    assert latch.first_bad_steps() == [7]
    assert not latch.deferred


def test_sums_go_on_from_their_state() -> None:
    engine = Single()
    sums = Sums()
    sums.add({"loss": torch.tensor(1.0), "b": torch.tensor(5.0)})
    sums.add({"loss": torch.tensor(2.0)})
    restored = Sums()
    restored.load(sums.state(engine), engine)
    for each in (sums, restored):
        each.add({"loss": torch.tensor(6.0)})
        assert {name: float(mean) for name, mean in each.means().items()} == {"b": 5.0, "loss": 3.0}
    sums.clear()
    assert not sums
    # Two processes left a row each: one goes on with their mean.
    restored.load({"loss": (torch.tensor([1.0, 3.0]), 1)}, engine)
    assert float(restored.means()["loss"]) == 2.0
