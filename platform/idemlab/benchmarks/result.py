"""The result of a benchmark: one row for each enforcer, as a table for people and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..wording import counted, number, percent

__all__ = ["COLUMNS", "Benchmark", "BenchmarkRow", "ByHandRow", "Timing"]

COLUMNS = ("enforcer", "cost", "ms a step", "middle half", "samples/s", "memory", "GEMM rate", "ratio", "CPU ratio")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one step costs.

    Args:
        cost_f: counted FLOPs of forward and backward, in forwards of the operator; None where nothing is counted.
        milliseconds: median of the timed steps.
        spread: lower and upper quartile, in milliseconds.
        processor_milliseconds: median time of the processor, of all threads of this process.
        peak_bytes: weights, state of the optimiser, copies, and at most that many bytes of further tensors in a step.
        samples_per_second: batch over median.
        gemm_share: counted FLOPs a second, as a share of the rate of the matrix product; None where nothing is counted.
    """

    cost_f: float | None
    milliseconds: float
    spread: tuple[float, float]
    processor_milliseconds: float
    peak_bytes: int
    samples_per_second: float
    gemm_share: float | None


@dataclass(frozen=True, kw_only=True)
class ByHandRow(Timing):
    """The same loss as one writes it without idemlab.

    Args:
        way: how it is written.
        ratio: the enforcer's milliseconds over these; the median over the rounds.
        processor_ratio: the same of the processor's time, which other programs disturb less.
        peak_ratio: the enforcer's peak memory over this one.
    """

    way: str
    ratio: float
    processor_ratio: float
    peak_ratio: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow(Timing):
    """One enforcer.

    Args:
        enforcer: its name, with the arguments that were given.
        source: where it is enforced.
        by_hand: the same loss written by hand, in each way that the enforcer offers.
    """

    enforcer: str
    source: str
    by_hand: tuple[ByHandRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What one step of each enforcer costs, on one model.

    Args:
        rows: one for each enforcer, in the order given.
        model: table of the model, with all arguments.
        shape: of a sample.
        batch: samples in a step.
        steps: timed steps of each.
        parameters: number of trained parameters of the model.
        forward_flops: F, counted FLOPs of one forward of the operator on one batch.
        gemm: the matrix product that was timed in turn with the steps: `size`, `dtype`, `gflops` (median) and `spread`.
        machine: device, cores, threads, versions, and the load of the machine when the benchmark began.
        peak: how peak memory was measured.
    """

    rows: tuple[BenchmarkRow, ...]
    model: Mapping[str, Any]
    shape: tuple[int, ...]
    batch: int
    steps: int
    parameters: int
    forward_flops: int
    gemm: Mapping[str, Any]
    machine: Mapping[str, Any]
    peak: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def heading(self) -> str:
        """What was timed, in one line."""
        shape = " x ".join(map(str, self.shape))
        return (
            f"{self.model['name']} with {counted(self.parameters, 'parameter')}, batch {self.batch} of {shape}; "
            f"F = {number(self.forward_flops / 1e9)} GFLOP"
        )

    @property
    def notes(self) -> list[str]:
        """What the columns mean, and on which machine they were measured."""
        gemm, machine = self.gemm, self.machine
        threads = f", {machine['threads']} of {machine['cores']} cores" if machine["device"] == "cpu" else ""
        notes = [
            f"Medians of {counted(self.steps, 'step')}, taken in turn on {machine['device']}{threads}. "
            f"Matrix products of {gemm['size']} x {gemm['size']} in {gemm['dtype']} between them: "
            f"{number(gemm['gflops'])} GFLOP/s.",
            "cost: counted FLOPs of forward and backward, in forwards of the model (F). ratio: time, divided by the time of "
            "the loop written by hand; below 1 is faster. CPU ratio: the same for processor time, which other programs "
            "disturb less.",
            f"memory: {self.peak}.",
        ]
        if machine["busy"]:
            notes.append(
                f"The machine was busy when the benchmark began (load {number(machine['load'])}): all times are too long."
            )
        return notes

    @property
    def table(self) -> list[list[str]]:
        """The cells below `COLUMNS`; rows written by hand stand below their enforcer, indented."""
        return [_cells(label, timing) for label, timing in self.lines]

    @property
    def lines(self) -> Iterator[tuple[str, Timing]]:
        """(label, timing) of each line of the table."""
        for row in self.rows:
            yield row.enforcer, row
            for way in row.by_hand:
                yield f"  {way.way}", way

    def to_markdown(self) -> str:
        """The table in Markdown, with its heading and notes."""
        lines = [
            self.heading,
            "",
            "| " + " | ".join(COLUMNS) + " |",
            "|---|" + "---:|" * (len(COLUMNS) - 1),
            *("| " + " | ".join(cell.replace("  ", "&emsp;") for cell in row) + " |" for row in self.table),
            "",
            *self.notes,
        ]
        return "\n".join(lines) + "\n"


def _cells(label: str, timing: Timing) -> list[str]:
    low, high = timing.spread
    ratios = [timing.ratio, timing.processor_ratio] if isinstance(timing, ByHandRow) else []
    return [
        label,
        number(None) if timing.cost_f is None else f"{timing.cost_f:.2f} F",
        number(timing.milliseconds),
        f"{number(low)} to {number(high)}",
        _rate(timing.samples_per_second),
        f"{number(timing.peak_bytes / 1e6)} MB",
        number(None) if timing.gemm_share is None else percent(timing.gemm_share),
        *([f"{ratio:.2f}" for ratio in ratios] or ["", ""]),
    ]


def _rate(value: float) -> str:
    """Samples a second: whole from a hundred on."""
    return f"{value:,.0f}" if value >= 100 else number(value)
