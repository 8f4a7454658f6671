"""Time a step of each enforcer on one model, and the same loss written by hand, in one interleaved run."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..arguments import several, whole
from ..catalog.catalog import Catalog, installed, or_installed
from ..contracts.dataset import Dataset
from ..experiment.experiment import Experiment
from ..objective.parts import build_operator
from ..runs.environment import describe_environment
from ..training.stepping import Steps, on_device
from .asked import checked_device, experiment_for, labels
from .by_hand import ByHand, ways_of
from .faults import without_files
from .memory import check_memory, most_bytes, total_bytes
from .result import Benchmark, BenchmarkRow, ByHandRow
from .saving import check_path, save

__all__ = ["ENFORCERS", "bench"]

ENFORCERS = ("gradient", "cubic", "relative", "ign")
_WARM_UP = 3
_GEMM = {"cpu": 1024, "cuda": 4096}
"""Side of the matrices whose product gives the rate of the machine."""
_PEAK = {
    "cpu": "weights, optimiser and copies, and the bytes of all further tensors alive at once in a step (no workspaces)",
    "cuda": "weights, optimiser and copies, and what torch allocates at most in a step (max_memory_allocated)",
}


def bench(
    enforcers: Sequence[str | Mapping[str, Any]] = ENFORCERS,
    *,
    model: str | Mapping[str, Any] = "autoencoder",
    shape: Sequence[int] = (1, 28, 28),
    batch: int = 64,
    steps: int = 20,
    device: Literal["cpu", "cuda"] | None = None,
    threads: int | None = None,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    catalog: Catalog | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Measure what one training step of each enforcer costs on one model.

    The enforcers, the same losses written by hand (if their plugin has them) and a matrix product take turns, one step
    each. So a busy machine slows all of them alike. The steps are those of `train`, including logging, on random samples.
    An enforcer acts at the samples and shares their orbit with the reconstruction. One that needs the reconstruction, or
    expands, acts at separate noise.

    Args:
        enforcers: names, or tables with a name and arguments, such as ``{"name": "ign", "routing": "surrogate"}``.
        model: name, or a table with a name and arguments.
        shape: of a sample.
        batch: samples in a step.
        steps: timed steps of each, after three that are not timed.
        device: `cpu` or `cuda`; by default the one that training would use.
        threads: of the CPU; by default as many as torch uses.
        overrides: changes of the timed experiments, as `resolve` takes them: ``model.channels=64``,
            ``optimizer.name=muon``, ``training.precision=bf16``, ``source.name=fourier``.
        out: file for the result: a figure (.png, .svg), the table (.md) or all values (.json).
        catalog: defaults to the installed plugins.
        message: called with a line of progress.

    Raises:
        BadInput: before anything is timed, for an unknown name, a shape that the model does not take, a device that does
            not exist, or a number below 1.
        Failure: if the memory is too small, or a plugin raises.
    """
    enforcers = several(enforcers, (), "enforcers", "names, or tables with a name and arguments")
    batch, steps = whole(batch, "batch"), whole(steps, "steps")
    threads = None if threads is None else whole(threads, "threads")
    sides = several(shape, (), "shape", "whole numbers, such as 1,28,28")
    shape = [whole(side, "a side of the shape", where="shape") for side in sides]
    kind = checked_device(enforcers, threads=threads, device=device, shape=shape)
    if out is not None:
        check_path(Path(out))
    base = {
        "model": model,
        "dataset": {"name": "gaussian", "shape": list(shape), "train": batch, "test": 2},
        "training": {"steps": 2 + _WARM_UP + steps, "batch_size": batch, "checkpoint_every": 10**9},
        "evaluation": {"inputs": {}, "points": 2, "rank_points": 0},
    }
    experiments = [experiment_for(base, enforcer, overrides, or_installed(catalog)) for enforcer in enforcers]
    trainings = sum(1 + 2 * len(ways_of(experiment)) for experiment in experiments)
    place = torch.device(kind)
    check_memory(experiments[0], tuple(shape), batch, trainings, place)
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        stack.enter_context(_threads(threads))
        stack.enter_context(on_device(kind))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        machine = _machine(place, load)
        data = torch.randn(4 * batch, *shape, dtype=getattr(torch, experiments[0].training.dtype))
        contenders = []
        for number, (label, experiment) in enumerate(zip(labels(enforcers), experiments, strict=True)):
            message(f"building {label}")
            contenders.append(_enforced(label, experiment, data, folder / str(number), place))
            for way, make in ways_of(experiment).items():
                contenders.append(_by_hand(label, way, ByHand(experiment, make, data.to(place)), place))
        gemm = _Gemm(place, experiments[0])
        for done in range(_WARM_UP + steps):
            if done == _WARM_UP:
                for contender in contenders:
                    contender.warm()
            message(f"round {done + 1} of {_WARM_UP + steps}")
            for contender in contenders[:: 1 if done % 2 else -1]:
                contender.time()
            gemm.time()
        forward, parameters = _forward(experiments[0], data[:batch].to(place))
        result = Benchmark(
            rows=tuple(_rows(contenders, experiments, forward, batch, gemm.rate)),
            model=experiments[0].model.table(),
            shape=tuple(shape),
            batch=batch,
            steps=steps,
            parameters=parameters,
            forward_flops=forward,
            gemm=gemm.as_dict(),
            machine=machine,
            peak=_PEAK[kind],
        )
    if out is not None:
        save(result, Path(out))
    return result


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with this many threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _machine(device: torch.device, load: float) -> dict[str, Any]:
    facts = describe_environment(installed(), device, 1)
    kept = {key: facts[key] for key in ("system", "cores", "threads", "device")}
    return kept | {"torch": torch.__version__, "load": load, "busy": load > 0.3 * (os.cpu_count() or 1)}


# -- what is timed ------------------------------------------------------------------------------------------------------


@dataclass
class _Contender:
    """One thing that is timed: an enforcer in the loop of `train`, or a loop written by hand (`way`)."""

    label: str
    step: Callable[[], None]
    flops: int
    peak_bytes: int
    device: torch.device
    way: str = ""
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def time(self) -> None:
        """Make one step and keep its time."""
        _wait(self.device)
        began, processor = time.perf_counter(), time.process_time()
        self.step()
        _wait(self.device)
        self.seconds.append(time.perf_counter() - began)
        self.processor.append(time.process_time() - processor)

    def warm(self) -> None:
        """Forget the times so far, which belong to the warm-up."""
        self.seconds, self.processor = [], []

    def timing(self, forward: int, batch: int, rate: float) -> dict[str, Any]:
        """The fields of `Timing`."""
        median = statistics.median(self.seconds)
        return {
            "cost_f": self.flops / forward if forward and self.flops else None,
            "milliseconds": 1000 * median,
            "spread": tuple(1000 * value for value in _quartiles(self.seconds)),
            "processor_milliseconds": 1000 * statistics.median(self.processor),
            "peak_bytes": self.peak_bytes,
            "samples_per_second": batch / median,
            "gemm_share": self.flops / median / rate if self.flops else None,
        }


def _enforced(label: str, experiment: Experiment, data: Tensor, folder: Path, device: torch.device) -> _Contender:
    folder.mkdir()
    steps = Steps(experiment, folder, Dataset.of_tensors(data, data[:2]))
    step = partial(_told, label, folder, steps.step)
    step()  # it makes the state of the optimiser, which stays
    peak = most_bytes(step, device)
    return _Contender(label, step, steps.plan.flops_per_step, peak + total_bytes(steps.state), device)


def _told(label: str, folder: Path, step: Callable[[], None]) -> None:
    """One step; an error names the enforcer."""
    with without_files(folder, label):
        step()


def _by_hand(label: str, way: str, loop: ByHand, device: torch.device) -> _Contender:
    flops = loop.flops()
    peak = most_bytes(loop.step, device)
    return _Contender(label, loop.step, flops, peak + loop.kept_bytes, device, way)


class _Gemm:
    """A matrix product, timed in turn with the steps: the rate that the machine can reach.

    It is in single precision, except beside steps in mixed precision on CUDA.
    """

    def __init__(self, device: torch.device, experiment: Experiment) -> None:
        mixed = experiment.training.precision == "bf16" and device.type == "cuda"
        self._dtype = torch.bfloat16 if mixed else torch.float32
        self._size, self._device = _GEMM[device.type], device
        self._a, self._b, self._out = (
            torch.randn(self._size, self._size, device=device).to(self._dtype) for _ in range(3)
        )
        self._rates: list[float] = []

    def time(self) -> None:
        """Multiply once."""
        _wait(self._device)
        began = time.perf_counter()
        torch.mm(self._a, self._b, out=self._out)
        _wait(self._device)
        self._rates.append(2 * self._size**3 / (time.perf_counter() - began))

    @property
    def rate(self) -> float:
        """FLOPs a second, the median."""
        return statistics.median(self._rates[_WARM_UP:])

    def as_dict(self) -> dict[str, Any]:
        """The field `gemm` of a benchmark."""
        low, high = _quartiles(self._rates[_WARM_UP:])
        return {
            "size": self._size,
            "dtype": str(self._dtype).removeprefix("torch."),
            "gflops": self.rate / 1e9,
            "spread": (low / 1e9, high / 1e9),
        }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median over the rounds. A clock may be too coarse for one step: such rounds are left out."""
    ratios = [a / b for a, b in zip(ours, others, strict=True) if a > 0 and b > 0]
    return statistics.median(ratios) if ratios else math.nan


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return low, high


# -- the result -----------------------------------------------------------------------------------------------------


def _forward(experiment: Experiment, x: Tensor) -> tuple[int, int]:
    """(counted FLOPs of one forward of the model, number of its parameters)."""
    operator = build_operator(experiment, tuple(x.shape[1:])).to(x.device, x.dtype)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        operator(x)
    return counter.get_total_flops(), sum(p.numel() for p in operator.parameters() if p.requires_grad)


def _rows(
    contenders: Sequence[_Contender], experiments: Sequence[Experiment], forward: int, batch: int, rate: float
) -> Iterator[BenchmarkRow]:
    ours = [contender for contender in contenders if not contender.way]
    for own, experiment in zip(ours, experiments, strict=True):
        ways = [contender for contender in contenders if contender.way and contender.label == own.label]
        yield BenchmarkRow(
            enforcer=own.label,
            source=", ".join(source.name for source in experiment.sources),
            by_hand=tuple(
                ByHandRow(
                    way=other.way,
                    ratio=_ratio(own.seconds, other.seconds),
                    processor_ratio=_ratio(own.processor, other.processor),
                    peak_ratio=own.peak_bytes / other.peak_bytes,
                    **other.timing(forward, batch, rate),
                )
                for other in ways
            ),
            **own.timing(forward, batch, rate),
        )
