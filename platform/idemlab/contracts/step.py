"""The current step as sources and enforcers see it, with the only randomness that they may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import torch
from torch import Tensor

__all__ = ["Shard", "Step", "generator", "seed_everything"]


def _seed(*key: int | str) -> int:
    """A seed that depends on the key alone: the same on every machine and in every process."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose stream depends on the key alone."""
    return torch.Generator().manual_seed(_seed(*key))


def seed_everything(*key: int | str) -> None:
    """Seed torch's own generators by a key. `torch.manual_seed` does the same, but slowly where there is no GPU."""
    seed = _seed(*key)
    torch.default_generator.manual_seed(seed)
    if _has_gpu():
        torch.cuda.manual_seed_all(seed)


@cache
def _has_gpu() -> bool:
    """Asked once: on small networks, torch's own answer is a share of each step."""
    return torch.cuda.is_available()


@dataclass(frozen=True)
class Shard:
    """Which rows of the global batch this process sees in this micro-step.

    The global batch is split into `micros` micro-batches (gradient accumulation), and each of them into `world` shares.
    """

    rank: int = 0
    world: int = 1
    micro: int = 0
    micros: int = 1

    @property
    def index(self) -> int:
        """Position of this share among all shares of the global batch."""
        return self.micro * self.world + self.rank

    @property
    def count(self) -> int:
        """Number of shares of the global batch."""
        return self.micros * self.world


class Step:
    """One training or evaluation step, as sources and enforcers see it.

    Every per-sample draw is made for the global batch, from a generator keyed by (seed, step, purpose, number of the draw).
    Each process takes its own rows of the draw, so that a run does not depend on the number of processes.

    Args:
        seed: of the experiment.
        index: number of the optimiser step.
        progress: completed share of the run, in [0, 1].
        purpose: separates random streams, for instance those of training and evaluation.
        shard: the rows of the global batch that this process sees.
        measured: whether the objective measures the idempotence error of the step, for the log.

    Attributes:
        shared: whether `mean` has been called, which averages over all processes.
        autocast: precision in which the operator computes under autocast; None in full precision. A source works outside of
            autocast, and one that calls the operator as training does enters it again.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        index: int = 0,
        progress: float = 1.0,
        purpose: str = "train",
        shard: Shard | None = None,
        measured: bool = True,
    ) -> None:
        self.seed = seed
        self.index = index
        self.progress = progress
        self.purpose = purpose
        self.shard = shard or Shard()
        self.measured = measured
        self.shared = False
        self.autocast: torch.dtype | None = None
        self._draws = 0
        self._reconstruction: Tensor | None = None
        self._reconstructed: Callable[[], Tensor] | None = None

    @property
    def reconstruction(self) -> Tensor:
        """The reconstruction term of the same rows, [B], with gradient.

        Raises:
            RuntimeError: in an objective without a reconstruction term; say `needs_reconstruction` in the traits and the
                preflight refuses the combination.
        """
        if self._reconstruction is None and self._reconstructed is not None:
            compute, self._reconstructed = self._reconstructed, None  # it holds orbits, which nobody needs any more
            self._reconstruction = compute()
        if self._reconstruction is None:
            raise RuntimeError(
                "this objective has no reconstruction term: declare `needs_reconstruction` in the traits"
            )
        return self._reconstruction

    @reconstruction.setter
    def reconstruction(self, value: Tensor) -> None:
        self._reconstruction = value

    def reconstruct_by(self, compute: Callable[[], Tensor]) -> None:
        """Let the reconstruction term be computed when it is read for the first time."""
        self._reconstruction, self._reconstructed = None, compute

    def normal(self, like: Tensor) -> Tensor:
        """N(0, 1) in the shape [B, ...], dtype and device of `like`."""
        return self._draw(like, torch.randn)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1) in the shape [B, ...], dtype and device of `like`."""
        return self._draw(like, torch.rand)

    def signs(self, like: Tensor) -> Tensor:
        """-1 or 1 with equal probability in the shape [B, ...], dtype and device of `like`."""
        return self.uniform(like).ge(0.5).to(like.dtype).mul(2).sub(1)

    def mean(self, t: Tensor) -> Tensor:
        """Mean of t [B, ...] over the rows of all processes, [...], with a gradient that is exact under data parallelism.

        Each process differentiates the mean of its own rows. The data-parallel engine averages these gradients over the
        processes. The average is the gradient of the global mean, and so of every function of global means.

        A mean that goes back into the rows (to measure the variance around it, say) must be detached there, and the
        gradient lost by that must be zero.
        """
        self.shared = True
        local = t.mean(0)
        if self.shard.world == 1:
            return local
        total = local.detach().clone()
        torch.distributed.all_reduce(total)
        return local + (total / self.shard.world - local.detach())

    def _draw(self, like: Tensor, sampler: object) -> Tensor:
        stream = generator(self.seed, self.index, self.purpose, self._draws)
        self._draws += 1
        rows = like.shape[0]
        dtype = torch.promote_types(like.dtype, torch.float32)
        everyone = sampler((rows * self.shard.count, *like.shape[1:]), generator=stream, dtype=dtype)  # type: ignore[operator]
        mine: Tensor = everyone[self.shard.index * rows : (self.shard.index + 1) * rows]
        return mine.to(device=like.device, dtype=like.dtype)
