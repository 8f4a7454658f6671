"""Memory: the tensors that a step keeps alive, and an estimate before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..system.memory import free_memory

__all__ = ["LiveBytes", "check_memory", "most_bytes", "total_bytes"]

_STATES = 4
"""Copies of the weights in one training: weights, gradients, and two moments of Adam."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is active, as long as they live.

    It sees what operators return. What a kernel takes for itself and gives back is not counted.

    Attributes:
        now: bytes of those that are alive.
        most: largest value of `now` so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: WeakKeyDictionary[Any, None] = WeakKeyDictionary()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for storage in _storages((args, kwargs)):
            self._known.setdefault(storage)  # made before
        out = func(*args, **kwargs)
        for storage in _storages(out):
            if storage not in self._known:
                self._known[storage] = None
                size = storage.nbytes()
                self.now += size
                self.most = max(self.most, self.now)
                finalize(storage, self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def _storages(tree: Any) -> Iterable[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all tensors; those that share memory count once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def most_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Peak memory of one call in bytes, beyond what was allocated before: counted tensors on the CPU, allocations on
    CUDA."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before: int = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        most: int = torch.cuda.max_memory_allocated()
        return most - before
    live = LiveBytes()
    with live:
        step()
    return live.most


def check_memory(
    experiment: Experiment, shape: tuple[int, ...], batch: int, trainings: int, device: torch.device
) -> None:
    """Refuse a model whose trainings would not fit into the memory, before any of it is allocated.

    Args:
        trainings: number of copies of the model that are trained side by side.

    Raises:
        BadInput: if the model refuses the shape.
        Failure: if the memory is too small; says how much is needed and there.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    needed = _needed(experiment, shape, batch, trainings)
    if free is None or needed <= free:
        return
    what = f"{trainings} trainings of model '{experiment.model.name}' at batch {batch}"
    much = "more than can be addressed" if needed == float("inf") else f"about {_gigabytes(needed)}"
    raise Failure(
        f"{what} need {much} of memory, and {_gigabytes(free)} are free on {device.type}",
        where=f"model '{experiment.model.name}' for samples of shape {list(shape)}",
        next_step="give fewer enforcers, a smaller `batch`, or a smaller model: idemlab show " + experiment.model.name,
    )


def _needed(experiment: Experiment, shape: tuple[int, ...], batch: int, trainings: int) -> float:
    """Bytes, estimated with tensors that have a size and no memory; 0 where the model cannot be built so."""
    double = 2 if experiment.training.dtype == "float64" else 1
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
            operator = experiment.model.build(shape)
            weights = total_bytes([*operator.parameters(), *operator.buffers()])
            held = live.now
            y = operator(torch.empty(batch, *shape))
            (operator(y) - y).square().mean().backward()
            needed: int = double * (trainings * _STATES * weights + live.most - held)
            return needed
    except Exception as error:
        if "overflow" in str(error).lower():  # sizes beyond 64 bits
            return float("inf")
        if isinstance(error, IdemlabError) and not isinstance(error, Failure):
            raise
        return 0  # a model that looks at values; if anything is wrong with it, the preflight says it better


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"
