"""Randomness: keyed by seed, step and purpose, and cut from the global batch."""

from __future__ import annotations

import pytest
import torch

from idemlab import Step
from idemlab.contracts.step import Shard, generator


def test_draws_depend_on_their_key_alone() -> None:
    like = torch.zeros(4, 3)
    first, again = Step(seed=1, index=7), Step(seed=1, index=7)
    torch.manual_seed(0)
    a = first.normal(like)
    torch.manual_seed(99)
    assert torch.equal(a, again.normal(like))
    assert not torch.equal(a, first.normal(like))  # the second draw of a step is another one
    for other in (Step(seed=2, index=7), Step(seed=1, index=8), Step(seed=1, index=7, purpose="evaluation")):
        assert not torch.equal(a, other.normal(like))


@pytest.mark.parametrize("draw", ["normal", "uniform", "signs"])
@pytest.mark.parametrize(("world", "micros"), [(2, 1), (1, 4), (2, 2)])
def test_shares_put_together_are_the_draw_of_one_process(draw: str, world: int, micros: int) -> None:
    rows = 8 // (world * micros)
    whole = getattr(Step(seed=3), draw)(torch.zeros(8, 2))
    parts = [
        getattr(Step(seed=3, shard=Shard(rank, world, micro, micros)), draw)(torch.zeros(rows, 2))
        for micro in range(micros)
        for rank in range(world)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_signs_and_uniform_have_their_ranges_and_type() -> None:
    like = torch.zeros(4000, dtype=torch.float64)
    signs, uniform = Step().signs(like), Step().uniform(like)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.1
    assert 0 <= float(uniform.min()) < 0.01
    assert 0.99 < float(uniform.max()) < 1
    assert signs.dtype == torch.float64
    assert Step().normal(torch.zeros(2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_missing_reconstruction_is_told() -> None:
    step = Step()
    with pytest.raises(RuntimeError, match="needs_reconstruction"):
        _ = step.reconstruction
    step.reconstruction = torch.ones(2)
    assert torch.equal(step.reconstruction, torch.ones(2))


def test_generators_of_different_keys_differ() -> None:
    draws = {float(torch.rand((), generator=generator(*key))) for key in [(0, 1), (1, 0), (0, 0, 1), ("a",), ("b",)]}
    assert len(draws) == 5


def test_mean_of_one_process_is_the_mean() -> None:
    t = torch.arange(6.0).view(3, 2).requires_grad_()
    mean = Step().mean(t)
    assert torch.equal(mean, t.mean(0))
    mean.sum().backward()
    assert torch.equal(t.grad, torch.full((3, 2), 1 / 3))
