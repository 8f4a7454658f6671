"""Truncation bounds the rank by construction, starts at the spectrum of the codes, and refuses what it cannot cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import Dataset
from idemlab.objective.parts import assemble
from idemlab_enforcers.truncation import Truncation


class Codes(nn.Module):
    """An autoencoder of vectors with six numbers and codes of five."""

    shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.there = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5))
        self.back = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 6))

    def encode(self, x: Tensor) -> Tensor:
        return self.there(x)

    def decode(self, h: Tensor) -> Tensor:
        return self.back(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


@pytest.mark.parametrize("r", [1, 3, 5])
def test_the_rank_is_at_most_r_and_the_start_is_the_truncated_svd_of_the_codes(r: int) -> None:
    torch.manual_seed(0)
    network, x = Codes().double(), torch.randn(40, 6, dtype=torch.float64)
    f = Truncation(r).wrap(network)
    f.start_from(Dataset.of_tensors(x, x))
    h = network.encode(x)
    U, S, V = torch.linalg.svd(h - h.mean(0), full_matrices=False)
    best = h.mean(0) + U[:, :r] * S[:r] @ V[:r]
    torch.testing.assert_close(f.encode(x), best)
    with torch.no_grad():
        f.directions.mul_(3).add_(torch.randn_like(f.directions))  # no longer orthonormal
    jacobian = torch.autograd.functional.jacobian(lambda t: f(t[None])[0], x[0])
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-9) == r
    kept = f.encode(x)
    assert torch.linalg.matrix_rank(kept - f.centre, rtol=1e-9) == r


def test_fewer_samples_than_directions() -> None:
    network, x = Codes(), torch.randn(2, 6)
    f = Truncation(4).wrap(network)
    f.start_from(Dataset.of_tensors(x, x))
    torch.testing.assert_close(f.directions.mT @ f.directions, torch.eye(4))
    torch.testing.assert_close(f.encode(x), network.encode(x))


@pytest.mark.parametrize(
    ("operator", "rank", "message"),
    [(nn.Linear(6, 6), 1, "and Linear does not"), (Codes(), 6, "cannot keep 6 directions of codes of 5 numbers")],
)
def test_what_cannot_be_cut_is_refused(operator: nn.Module, rank: int, message: str) -> None:
    with pytest.raises(idemlab.BadInput, match=message):
        Truncation(rank).wrap(operator)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_works_in_the_precision_that_it_is_turned_into(dtype: torch.dtype) -> None:
    f = Truncation(2).wrap(Codes()).to(dtype)
    x = torch.randn(3, 6, dtype=dtype)
    assert f(x).dtype == dtype
    torch.testing.assert_close(f(x).double(), f.double()(x.double()), rtol=0, atol=0.05)


@pytest.mark.parametrize("rank", [1, 2])
def test_directions_that_have_become_dependent_are_told(rank: int) -> None:
    f = Truncation(rank).wrap(Codes())
    f.directions.data[:, -1] = 0
    with pytest.raises(idemlab.Failure, match=f"its {rank} direction.* linearly dependent") as told:
        f(torch.randn(3, 6))
    assert "lower the learning rate" in str(told.value.next_step)
    assert ("a lower rank of 'truncation'" in str(told.value.next_step)) == (rank > 1)


@pytest.mark.long
def test_a_run_has_the_rank_and_is_loaded_again(tmp_path: Path) -> None:
    members = '[{name="truncation", rank=2}, {name="alignment", weight=1.0}]'
    changes = ["model.name=biorthogonal", "model.latent=6", "enforcer.name=hybrid", f"enforcer.enforcers={members}"]
    run = idemlab.train(
        "mlp-gradient", tmp_path / "run", overrides=[*changes, "training.steps=3", "evaluation.points=16"]
    )
    assert run.certificate is not None
    assert {inputs["rank"] for inputs in run.certificate["inputs"].values()} == {2}
    f, x = idemlab.load(run), torch.randn(50, 16, dtype=torch.float32)
    codes = f.encode(x) - f.centre
    assert torch.linalg.matrix_rank(codes.double(), rtol=1e-5) == 2


def test_under_a_condition_codes_are_those_of_their_classes() -> None:
    experiment = {
        "dataset": {"name": "digits", "condition": "label"},
        "model": {"name": "patches", "channels": 2, "latent": 8},
        "enforcer": {"name": "truncation", "rank": 3},
        "training": {"steps": 1, "batch_size": 8},
    }
    operator = assemble(idemlab.resolve(experiment)).objective.operator
    x, c = torch.randn(2, 1, 28, 28, dtype=torch.float32), torch.tensor([3, 4])
    torch.testing.assert_close(operator(x, c)[1], operator(x[1:], c[1:])[0])
    assert not torch.equal(operator(x, c), operator(x, c.flip(0)))
