"""The evaluations of a run, and what it keeps by them: the average of its weights, the best ones, its patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import Failure
from ..experiment.experiment import Experiment
from ..objective.data import classes_of
from ..objective.engines import Engine
from ..objective.evaluation import Evaluation, evaluate
from ..objective.objective import Through
from ..objective.parts import Parts
from ..objective.preflight import Plan
from ..runs.run import WHICH, Run, Which
from ..runs.writing import write_certificate, write_operator
from ..system.phases import timed
from ..watching.watcher import Watcher
from ..wording import counted
from .average import Average, under
from .chosen import Best, Patience
from .log import Clock
from .schedule import RANK_POINTS_IN_PASSING

__all__ = ["Evaluations"]


class _Loop(Protocol):
    """What evaluations need of the training loop."""

    clock: Clock

    def answerable(self, done: int, call: Callable[[], Evaluation], doing: str) -> Evaluation: ...

    def write(self, step: int, split: str, values: dict[str, float], timings: dict[str, float]) -> None: ...

    def keep(self, step: int) -> str: ...


class Evaluations:
    """Evaluates the operator of a run, and keeps weights beside the last ones. All processes call each method.

    Args:
        loop: has the clock and the log, and saves the state if an evaluation fails.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: Run,
        parts: Parts,
        plan: Plan,
        engine: Engine,
        watcher: Watcher,
        loop: _Loop,
    ) -> None:
        self._experiment, self._run, self._parts, self._plan = experiment, run, parts, plan
        self._engine, self._watcher, self._loop = engine, watcher, loop
        self._classes = classes_of(experiment, parts.dataset)
        training = experiment.training
        self._average: Average | None = None
        self._best = None if training.best is None else Best(training.best)
        self._patience = None if training.stop is None else Patience(training.stop)

    # -- the state --------------------------------------------------------------------------------------------------

    def prepare(self, objective: nn.Module) -> None:
        """Take the objective as the engine wrapped it, and begin the average at its weights."""
        self._objective, operator = objective, self._parts.objective.operator
        if self._experiment.training.ema:
            self._average = Average(self._experiment.training.ema, operator, self._engine)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {name: kept.state() for name, kept in self._kept().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint. What it does not have begins there."""
        for name, kept in self._kept().items():
            kept.load(state.get(name))

    def _kept(self) -> dict[str, Average | Best | Patience]:
        kept = {"average": self._average, "best": self._best, "patience": self._patience}
        return {name: each for name, each in kept.items() if each is not None}

    def follow(self, done: int) -> None:
        """Move the average on, after `done` steps."""
        if self._average is not None:
            self._average.follow(done)

    @property
    def over(self) -> bool:
        """Whether the run has ended early."""
        return self._patience is not None and self._engine.agreed(self._patience.over)

    # -- evaluations ------------------------------------------------------------------------------------------------

    def end(self, done: int) -> bool:
        """Evaluate in passing, after `done` steps, and say whether the run ends here."""
        evaluation = self._evaluate(done, RANK_POINTS_IN_PASSING)["last"]
        self._check_spread(done, evaluation)
        self._keep_best(done, evaluation)
        if self._patience is not None:
            self._patience.see(evaluation)
        return self.over

    def _check_spread(self, done: int, evaluation: Evaluation) -> None:
        """Stop if the outputs have collapsed and the experiment asks for that, with the state saved."""
        if self._experiment.training.stop_on_collapse and evaluation.collapse and done < self._plan.steps:
            raise Failure(
                f"{evaluation.collapse}, after {done} of {counted(self._plan.steps, 'step')}; {self._loop.keep(done)}",
                where=str(self._run.path),
                next_step="warm the enforcer up (hybrid, warmup = 0.3), lower its weight, or give the noise targets",
            )

    @timed("evaluation")
    def _evaluate(self, done: int, rank_points: int) -> dict[Which, Evaluation]:
        """Evaluate the last weights and, if there is one, their average."""
        found: dict[Which, Evaluation] = {"last": self._measured(done, rank_points, "evaluation")}
        self._watcher.evaluated(done, found["last"])
        if self._average is not None:
            found["ema"] = self._measured(done, rank_points, "ema", self._average.weights())
        return found

    def _measured(
        self, done: int, rank_points: int, split: str | None, weights: Mapping[str, Tensor] | None = None
    ) -> Evaluation:
        """One evaluation after `done` steps, under other weights if they are given; with an entry in the log for `split`."""
        began = time.perf_counter()
        objective = self._parts.objective

        def measured() -> Evaluation:
            with nullcontext() if weights is None else under(weights, objective, self._engine):
                apply, device = Through(self._objective, objective.operator), self._engine.device
                return evaluate(self._experiment, self._parts, apply, device, rank_points=rank_points)

        self._objective.eval()
        evaluation = self._loop.answerable(done, measured, "the evaluation")
        self._objective.train()
        took = time.perf_counter() - began
        if split is not None:
            self._loop.write(done, split, evaluation.flat(), {"evaluation_seconds": round(took, 3)})
        self._loop.clock.leave_out(took)
        return evaluation

    # -- the best weights -------------------------------------------------------------------------------------------

    def _keep_best(self, done: int, evaluation: Evaluation) -> None:
        if self._best is not None and self._engine.agreed(self._best.improves(evaluation)):
            weights = self._engine.stateful(self._parts.objective.operator).state_dict()
            self._best.take(done, evaluation, weights)
            self.write_best()

    def write_best(self) -> None:
        """Bring the file of the best weights to the state of the run, which may have been resumed from before them."""
        if not self._engine.main:
            return
        if self._best is None or self._best.step is None:
            self._run.weights_of("best").unlink(missing_ok=True)
        else:
            write_operator(
                self._run,
                self._best.weights,
                self._parts.dataset,
                which="best",
                classes=self._classes,
                step=self._best.step,
                prefix=self._parts.objective.prefix,
            )

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self, done: int, remark: str) -> None:
        """Evaluate all weights that are kept, and write the files that a finished run has.

        Args:
            remark: a further sentence for the verdict.
        """
        rank_points = self._experiment.evaluation.rank_points
        found = self._evaluate(done, rank_points)
        self._keep_best(done, found["last"])
        weights: dict[Which, Mapping[str, Tensor]]
        weights = {"last": self._engine.stateful(self._parts.objective.operator).state_dict()}
        if self._average is not None:
            weights["ema"] = self._average.weights()
        best = self._best
        if best is not None and best.step is not None:
            same = best.step == done
            found["best"] = found["last"] if same else self._measured(done, rank_points, None, best.weights)
            weights["best"] = best.weights
        elif best is not None:
            self._watcher.message(f"no weights are kept as the best: no evaluation had a usable {best.goal.metric}")
        if self._patience is not None and done < self._plan.steps:
            why = self._patience.sentence(done, self._plan.steps)
            self._watcher.message(why)
            remark = f"{remark} {why}".strip()
        if self._engine.main:
            self._write(done, found, weights, remark)

    def _write(
        self, done: int, found: Mapping[Which, Evaluation], weights: Mapping[Which, Mapping[str, Tensor]], remark: str
    ) -> None:
        for which in reversed(WHICH):  # certificate.json marks the run as finished
            if which not in found:
                continue
            step = self._best.step if which == "best" and self._best is not None else None
            if which != "best":  # whose file is there already
                prefix = self._parts.objective.prefix
                write_operator(
                    self._run,
                    weights[which],
                    self._parts.dataset,
                    which=which,
                    classes=self._classes,
                    prefix=prefix,
                )
            further = remark if which == "last" else ""
            steps = done if step is None else step
            flops = steps * self._plan.flops_per_step
            write_certificate(self._run, found[which], steps=steps, flops=flops, which=which, remark=further)
