"""Training of many small experiments as one batched program: what differs is the seed and the optimiser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from ..catalog.catalog import Catalog
from ..contracts.dataset import Batch
from ..contracts.enforcer import DISTANCES
from ..contracts.specs import EnforcerKind, Traits
from ..errors import IdemlabError, Interrupted
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from ..objective.evaluation import Evaluation, evaluate
from ..objective.objective import Objective
from ..objective.optimizers import build_optimizers
from ..objective.parts import Parts, assemble
from ..objective.preflight import preflight
from ..runs.run import Run
from ..runs.writing import write_circumstances, write_outcome
from ..system import strict_json
from .batches import batches
from .loop import RANK_POINTS_IN_PASSING, not_finite
from .stacked import Stacked, StackedStep, cannot_be_stacked

__all__ = ["stackable", "train_stacked"]

LARGEST = 300_000
"""Parameters of a replica above which a batched program gains nothing on a CPU."""


def stackable(experiment: Experiment) -> bool:
    """Whether an experiment may be trained beside others: nothing in it couples the rows of a batch."""
    training = experiment.training
    traits: Traits = experiment.enforcer.traits()
    plain = training.micro_batches == 1 and training.precision == "full" and not training.compile
    alone = bool(traits.kinds & {EnforcerKind.PROJECTION, EnforcerKind.ARCHITECTURE}) or traits.batch_coupled
    if not plain or training.trackers or alone or PartialState().num_processes > 1:
        return False
    parts = assemble(experiment)
    objective = parts.objective
    sources = [*objective.sources, *([] if objective.corruption is None else [objective.corruption])]
    size = sum(p.numel() for p in objective.operator.parameters())
    return (
        size <= LARGEST
        and not list(objective.enforcer.buffers())
        and not list(objective.enforcer.parameters())
        and all(source.row_by_row for source in sources)
        and cannot_be_stacked(objective.operator) is None
    )


def train_stacked(
    experiments: Sequence[Experiment],
    outs: Sequence[Path],
    catalog: Catalog,
    *,
    stopped: Callable[[], bool] = lambda: False,
    stepped: Callable[[int, int], None] = lambda done, steps: None,
) -> list[str]:
    """Train experiments that differ in nothing but seed and optimiser; each leaves a run folder as if trained alone, but
    without checkpoints.

    Args:
        experiments: each of them `stackable`.
        outs: a folder for each, empty or not there.
        stopped: asked after every step.
        stepped: told the number of steps done and of all steps.

    Returns:
        For each what went wrong, or "".

    Raises:
        BadInput, Failure: if something does not fit any of them.
        Interrupted: if it was asked to stop before the last evaluation; they are to be trained anew.
    """
    return _Stack(experiments, outs, catalog).run_all(stopped, stepped)


class _Stack:
    def __init__(self, experiments: Sequence[Experiment], outs: Sequence[Path], catalog: Catalog) -> None:
        self.experiments, self.catalog = list(experiments), catalog
        self.runs = [Run(out) for out in outs]
        self.device = PartialState().device
        self.parts: list[Parts] = []
        for experiment in experiments:
            dataset = self.parts[0].dataset if self.parts else None
            parts = assemble(experiment, dataset)
            if not self.parts:
                self.plan = preflight(experiment, parts, device=self.device)
            self.parts.append(parts)
        first, alike = experiments[0], self.parts[0].objective
        self.training = first.training
        self.count = len(self.experiments)
        self.stacked = Stacked([parts.objective.operator for parts in self.parts])
        at_data = any(named.name == "data" for named in first.sources)
        self.objective = Objective(
            self.stacked,
            alike.enforcer,
            [*alike.sources, *([None] if at_data else [])],
            corruption=alike.corruption,
            weight=first.reconstruction.weight,
            distance=DISTANCES[first.reconstruction.distance],
            replicas=self.count,
        ).to(self.device)
        self.stacked.keep_gradients()
        views = [self.stacked.parameters_of(r) for r in range(self.count)]
        self.own = [list(named.values()) for named in views]
        self.named = [(name, view, view.grad) for named in views for name, view in named.items()]
        self.without: set[str] = set()  # parameters that have no gradient now
        self.optimizers = [
            build_optimizers(experiment.optimizer, own)
            for experiment, own in zip(self.experiments, self.own, strict=True)
        ]
        self.first_bad = torch.full((self.count,), -1.0, device=self.device)
        self.sums: dict[str, Tensor] = {}
        self.since_log = 0
        self.began = time.perf_counter()
        self.errors = [""] * self.count

    def run_all(self, stopped: Callable[[], bool], stepped: Callable[[int, int], None]) -> list[str]:
        steps, training = self.plan.steps, self.training
        for run, experiment in zip(self.runs, self.experiments, strict=True):
            run.path.mkdir(parents=True, exist_ok=True)
            run.experiment_file.write_text(experiment.to_toml(), encoding="utf-8")
            write_circumstances(run, self.catalog, self.plan, self.device, 1)
        stream = self._batches()
        with ExitStack() as stack:
            self.files = [stack.enter_context(run.metrics_file.open("w", encoding="utf-8")) for run in self.runs]
            for index in range(steps):
                self._step(index, next(stream))
                done = index + 1
                stepped(done, steps)
                if stopped():
                    raise Interrupted("stopped; what has ended is kept", next_step="the same command with --resume")
                if done % training.log_every == 0 or done == steps:
                    self._log(done)
                    if all(self.errors):
                        return self.errors
                if done % self.experiments[0].evaluation.every == 0 and done < steps:
                    self._evaluate(done, RANK_POINTS_IN_PASSING)
            self._evaluate(steps, self.experiments[0].evaluation.rank_points)
        return self.errors

    def _batches(self) -> Iterator[Batch]:
        """The batches of all replicas, one block of rows each; replicas of one seed see the same samples."""
        seeds = [experiment.training.seed for experiment in self.experiments]
        dataset = self.parts[0].dataset
        dtype: torch.dtype = getattr(torch, self.training.dtype)
        alike = {experiment.training.seed: experiment.training for experiment in self.experiments}
        streams = {
            seed: batches(dataset, training, range(self.plan.steps), rank=0, world=1)
            for seed, training in alike.items()
        }
        while True:
            own = {seed: next(stream).to(self.device, dtype, dataset.range) for seed, stream in streams.items()}
            yield _joined([own[seed] for seed in seeds])

    def _step(self, index: int, batch: Batch) -> None:
        progress = index / self.plan.steps
        step = StackedStep([e.training.seed for e in self.experiments], index=index, progress=progress)
        loss, figures = blame(self.experiments[0], lambda: self.objective(batch, step))
        bad = ~torch.isfinite(figures["loss"])
        self.first_bad = torch.where(bad & (self.first_bad < 0), float(index), self.first_bad)
        if loss.requires_grad:
            blame(self.experiments[0], loss.backward)
        unreached = self.stacked.unreached()
        if unreached != self.without:
            for name, view, gradient in self.named:
                view.grad = None if name in unreached else gradient
            self.without = unreached
        for experiment, own, optimizers in zip(self.experiments, self.own, self.optimizers, strict=True):
            settings = experiment.optimizer
            if settings.clip > 0:
                nn.utils.clip_grad_norm_(own, settings.clip)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * settings.share_of_rate(progress)
                optimizer.step()
        self.stacked.clear_gradients()
        for name, values in figures.items():
            self.sums[name] = self.sums[name] + values if name in self.sums else values
        self.since_log += 1

    def _log(self, done: int) -> None:
        means = {name: (values / self.since_log).tolist() for name, values in sorted(self.sums.items())}
        first_bad = self.first_bad.int().tolist()
        seconds = self._share_of_time()
        for r, (file, experiment) in enumerate(zip(self.files, self.experiments, strict=True)):
            if self.errors[r]:
                continue
            if first_bad[r] >= 0:
                self.errors[r] = not_finite(first_bad[r], self.plan.steps)
                continue
            rate = experiment.optimizer.lr * experiment.optimizer.share_of_rate((done - 1) / self.plan.steps)
            figures = {name: values[r] for name, values in means.items()} | {"lr": rate}
            _write(file, {"step": done, "split": "train"} | figures | {"time": {"seconds": seconds}})
        self.sums, self.since_log = {}, 0

    def _evaluate(self, done: int, rank_points: int) -> None:
        evaluations: dict[int, Evaluation] = {}
        for r, (experiment, parts) in enumerate(zip(self.experiments, self.parts, strict=True)):
            if self.errors[r]:
                continue
            operator = parts.objective.operator.to(self.device)
            self.stacked.write_back(r, operator)
            operator.eval()

            def apply(x: Tensor, condition: Tensor | None, operator: nn.Module = operator) -> Tensor:
                y: Tensor = operator(x) if condition is None else operator(x, condition)
                return y

            try:
                evaluations[r] = blame(
                    experiment,
                    lambda: evaluate(experiment, parts, apply, self.device, rank_points=rank_points),  # noqa: B023
                    "the evaluation",
                )
            except IdemlabError as error:
                self.errors[r] = error.what
        clock = {"time": {"seconds": self._share_of_time()}}  # of all, when all are done: the shares add up
        for r, evaluation in evaluations.items():
            _write(self.files[r], {"step": done, "split": "evaluation"} | evaluation.flat() | clock)
            if done == self.plan.steps:
                parts = self.parts[r]
                write_outcome(self.runs[r], parts.objective.operator, parts.dataset, evaluation, self.plan)

    def _share_of_time(self) -> float:
        """Seconds so far, divided among the replicas: what one of them cost."""
        return round((time.perf_counter() - self.began) / self.count, 4)


def _joined(parts: Sequence[Batch]) -> Batch:
    """One batch of several, block after block."""

    def joined(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [t for t in tensors if t is not None]
        return torch.cat(present) if present else None

    inputs = torch.cat([part.input for part in parts])
    same = all(part.target is part.input for part in parts)
    return Batch(
        inputs,
        inputs if same else torch.cat([part.target for part in parts]),
        joined([part.condition for part in parts]),
        joined([part.label for part in parts]),
    )


def _write(file: Any, entry: dict[str, Any]) -> None:
    file.write(strict_json.dumps(entry) + "\n")
    file.flush()
