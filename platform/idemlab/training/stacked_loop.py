"""Trains experiments that differ only in seed and optimiser as one batched program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn

from ..catalog.catalog import Catalog
from ..contracts.dataset import Batch
from ..contracts.enforcer import DISTANCES, follows_training
from ..contracts.specs import EnforcerKind, Traits
from ..errors import IdemlabError, Interrupted
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from ..objective.data import classes_of
from ..objective.engines import Single
from ..objective.evaluation import Evaluation, evaluate
from ..objective.objective import Objective
from ..objective.optimizers import build_optimizers
from ..objective.parts import Parts, assemble
from ..objective.preflight import preflight
from ..objective.rates import Rates
from ..runs.run import Run
from ..runs.writing import append_entry, write_certificate, write_operator
from ..wording import counted
from .batches import batches
from .folder import open_folder
from .latch import Latch, not_finite
from .log import Clock, Sums
from .schedule import RANK_POINTS_IN_PASSING, Schedule
from .stacked import Stacked, StackedStep, cannot_be_stacked

__all__ = ["stackable", "train_stacked"]

LARGEST = 300_000
"""Largest number of parameters of a replica; above it, a batched program gains nothing on a CPU."""


def stackable(experiment: Experiment) -> bool:
    """Whether an experiment can be trained in one program with others: it must not couple the rows of a batch."""
    training = experiment.training
    traits: Traits = experiment.enforcer.traits()
    plain = training.micro_batches == 1 and training.precision == "full" and not training.compile
    alone = bool(traits.kinds & {EnforcerKind.PROJECTION, EnforcerKind.ARCHITECTURE}) or traits.batch_coupled
    # Several operators as one have no methods of their own.
    alone = alone or not experiment.enforcer.declares_traits or bool(traits.calls)
    plain = plain and not training.ema and training.best is None and training.stop is None
    if not plain or experiment.trackers or alone or PartialState().num_processes > 1:
        return False
    parts = assemble(experiment)
    objective = parts.objective
    sources = [*objective.sources, *([] if objective.corruption is None else [objective.corruption])]
    size = sum(p.numel() for p in objective.operator.parameters())
    return (
        size <= LARGEST
        and not list(objective.enforcer.buffers())
        and not list(objective.enforcer.parameters())
        and not follows_training(objective.enforcer)
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
    message: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Train experiments that differ only in seed and optimiser. Each leaves a run folder, but without checkpoints.

    Args:
        experiments: experiments that are all `stackable`.
        outs: a folder for each, new or empty.
        stopped: called after every step; training ends when it returns True.
        stepped: called with the number of steps done and the total.
        message: called at the start with each sentence about the data and the weights to start from.

    Returns:
        For each experiment its error, or "".

    Raises:
        BadInput, Failure: if a fault concerns all experiments.
        Interrupted: if it was asked to stop before the last evaluation; all experiments must then be trained again.
    """
    stack = _Stack(experiments, outs, catalog)
    for sentence in (*stack.parts[0].dataset.description, stack.parts[0].remark):
        if sentence:
            message(sentence)
    return stack.run_all(stopped, stepped)


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
        self.without: set[str] = set()  # names of parameters without a gradient in this step
        self.optimizers = [
            build_optimizers(experiment.optimizer, own, experiment.method)
            for experiment, own in zip(self.experiments, self.own, strict=True)
        ]
        self.engine = Single(self.device)
        self.schedule = Schedule(first, self.plan.steps)
        self.rates = [Rates(experiment) for experiment in self.experiments]
        self.latch = Latch(self.engine, shape=(self.count,))
        self.sums, self.clock = Sums(), Clock()
        self.errors = [""] * self.count

    def run_all(self, stopped: Callable[[], bool], stepped: Callable[[int, int], None]) -> list[str]:
        steps = self.plan.steps
        for run, experiment in zip(self.runs, self.experiments, strict=True):
            open_folder(run, experiment, self.catalog, self.plan, self.engine)
        stream = self._batches()
        for index in range(steps):
            self._step(index, next(stream))
            done = index + 1
            stepped(done, steps)
            if stopped():
                raise Interrupted("stopped; finished trials are kept", next_step="resume it to train the others")
            if self.schedule.logs(done):
                self._log(done)
                if all(self.errors):
                    return self.errors
            if self.schedule.evaluates(done):
                self._evaluate(done, RANK_POINTS_IN_PASSING)
        self._evaluate(steps, self.experiments[0].evaluation.rank_points)
        return self.errors

    def _batches(self) -> Iterator[Batch]:
        """Batches with one block of rows per replica; replicas with the same seed see the same samples."""
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
        progress = self.schedule.progress(index)
        seeds, measured = [e.training.seed for e in self.experiments], self.schedule.measures(index + 1)
        step = StackedStep(seeds, index=index, progress=progress, measured=measured)
        loss, values = blame(self.experiments[0], lambda: self.objective(batch, step))
        self.latch.see(values["loss"], index)
        if loss.requires_grad:
            blame(self.experiments[0], loss.backward)
        unreached = self.stacked.unreached()
        if unreached != self.without:
            for name, view, gradient in self.named:
                view.grad = None if name in unreached else gradient
            self.without = unreached
        for experiment, rates, own, optimizers in zip(
            self.experiments, self.rates, self.own, self.optimizers, strict=True
        ):
            if experiment.optimizer.clip > 0:
                nn.utils.clip_grad_norm_(own, experiment.optimizer.clip)
            rates.set(optimizers, progress)
            for optimizer in optimizers:
                optimizer.step()
        self.stacked.clear_gradients()
        self.sums.add(values)

    def _log(self, done: int) -> None:
        means = {name: values.tolist() for name, values in self.sums.means().items()}
        first_bad = self.latch.first_bad_steps()
        clock = {"seconds": self.clock.seconds(self.count)}
        for r, run in enumerate(self.runs):
            if self.errors[r]:
                continue
            bad = first_bad[r]
            if bad is not None:
                self.errors[r] = not_finite(bad, self.plan.steps)
                continue
            own = {name: each[r] for name, each in means.items()}
            own["lr"] = self.rates[r].rate(self.schedule.progress(done - 1))
            append_entry(run, done, "train", own, clock)
        self.sums.clear()

    def _evaluate(self, done: int, rank_points: int) -> None:
        evaluations: dict[int, Evaluation] = {}
        for r, (experiment, parts) in enumerate(zip(self.experiments, self.parts, strict=True)):
            if self.errors[r]:
                continue
            operator = parts.objective.operator.to(self.device)
            self.stacked.write_back(r, operator)
            operator.eval()

            try:
                evaluations[r] = blame(
                    experiment,
                    lambda: evaluate(experiment, parts, operator, self.device, rank_points=rank_points),  # noqa: B023
                    "the evaluation",
                )
            except IdemlabError as error:
                self.errors[r] = error.what
            else:
                if self.training.stop_on_collapse and done < self.plan.steps and evaluations[r].collapse:
                    self.errors[r] = f"{evaluations[r].collapse}, after {done} of {counted(self.plan.steps, 'step')}"
        clock = {"seconds": self.clock.seconds(self.count)}  # taken after all evaluations, so that the shares add up
        for r, evaluation in evaluations.items():
            append_entry(self.runs[r], done, "evaluation", evaluation.flat(), clock)
            if done == self.plan.steps:
                parts = self.parts[r]
                weights, classes = parts.objective.operator.state_dict(), classes_of(self.experiments[r], parts.dataset)
                write_operator(self.runs[r], weights, parts.dataset, classes=classes)
                write_certificate(self.runs[r], evaluation, steps=done, flops=done * self.plan.flops_per_step)


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
