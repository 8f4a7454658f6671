"""The training loop, on Accelerate. One forward of the objective and one backward a micro-step; nothing else in the step."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor

from ..catalog.catalog import Catalog, installed
from ..contracts.dataset import Batch
from ..contracts.specs import EnforcerKind
from ..contracts.step import Shard, Step, seed_everything
from ..errors import BadInput, Failure, IdemlabError, Interrupted
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..objective.engines import Engine, Stateful, Whole, expected_processes, launched_alone, shard_all, unfuse, whole
from ..objective.evaluation import Evaluation, evaluate
from ..objective.objective import Objective
from ..objective.optimizers import build_optimizers
from ..objective.parts import Parts, assemble
from ..objective.preflight import Plan, preflight
from ..objective.projection import Projected, project_weights
from ..runs.changes import changes
from ..runs.run import Run
from ..runs.writing import write_circumstances, write_outcome, writing
from ..system.files import write_text
from ..system.lock import exclusive
from ..system.signals import stop_signals
from .batches import batches
from .checkpoint import latest, load_checkpoint, prune, save_checkpoint
from .trackers import check_trackers, tracking
from .watcher import Watcher

__all__ = ["RANK_POINTS_IN_PASSING", "not_finite", "train"]

T = TypeVar("T")

RANK_POINTS_IN_PASSING = 1
"""Jacobians at an evaluation during the run; the last one has `evaluation.rank_points`."""


def train(
    experiment: Experiment | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    allow_changes: bool = False,
    watcher: Watcher | None = None,
    catalog: Catalog | None = None,
) -> Run:
    """Train what an experiment describes and leave a run folder.

    Args:
        experiment: a resolved experiment, or what `resolve` takes.
        out: folder of the run; must not hold a run unless `resume`.
        overrides: as `resolve` takes them.
        resume: go on from the newest whole checkpoint of the folder.
        allow_changes: go on even if the experiment, or the version of idemlab, torch or a plugin it uses, has changed since
            the run began; environment.json keeps what has, under "changes".
        watcher: hears of the progress.

    Raises:
        BadInput: before anything is written, if something does not fit.
        Failure: not finite, disk full, a plugin raised; what was computed is kept.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
    """
    catalog = catalog or installed()
    watcher = watcher or Watcher()
    if not isinstance(experiment, Experiment):
        experiment = resolve(experiment, overrides, catalog=catalog)
    run = Run(Path(out))
    _check_folder(run, resume=resume)
    changed = changes(run, experiment, catalog) if resume else []
    if changed and not allow_changes:
        raise BadInput(
            f"the run in '{run.path}' began with something else: " + "; ".join(changed),
            next_step="resume it unchanged, start a new run in another --out, or go on all the same with --allow-changes",
        )
    check_trackers(experiment)
    accelerator, engine = _accelerator(experiment, run)
    parts = assemble(experiment)
    plan = preflight(experiment, parts, device=accelerator.device, engine=engine)
    parts.objective.to(accelerator.device)
    optimizers = build_optimizers(experiment.optimizer, [p for p in parts.objective.parameters() if p.requires_grad])
    if engine.sharded:
        for optimizer in optimizers:
            unfuse(optimizer)
    loop = _Loop(experiment, catalog, run, parts, plan, accelerator, engine, optimizers, watcher)
    with _held(run, accelerator, resume=resume):
        if engine.world > 1:
            loop.watcher.message(f"training in {engine}")
        elif alone := launched_alone():
            loop.watcher.message(alone)
        for change in changed:
            loop.watcher.message(f"changed since the run began: {change}")
        return loop.run_all(resume=resume, changed=changed)


# -- before the loop --------------------------------------------------------------------------------------------------


def _accelerator(experiment: Experiment, run: Run) -> tuple[Accelerator, Engine]:
    """The engine, with as many processes as the launcher says.

    Raises:
        BadInput: if the launcher was told of an engine that a run cannot use.
        Failure: if the processes do not find each other.
    """
    AcceleratorState._reset_state()  # so that runs of different precision may follow each other in one process
    asked, found = expected_processes(), torch.accelerator.current_accelerator()
    accelerator = Accelerator(
        mixed_precision="bf16" if experiment.training.precision == "bf16" else "no",
        # Without a device that several processes can share, Accelerate would let each train alone unless told of the CPU.
        cpu=asked > 1 and (found is None or found.type == "mps"),
        # The experiment says how the batch is cut; what a launcher sets in the environment would scale the loss too.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=list(experiment.training.trackers) or None,
        project_dir=str(run.path),
    )
    kind = accelerator.distributed_type
    sharded = kind == DistributedType.FSDP
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM) or (sharded and not accelerator.is_fsdp2):
        raise BadInput(
            f"idemlab does not train through {'FSDP1' if sharded else kind.value}",
            where="what accelerate launch was told, or its configuration file",
            expected="one process, DDP (--multi_gpu) or FSDP2 (--use_fsdp --fsdp_version 2)",
        )
    if accelerator.num_processes != asked:
        raise Failure(
            f"the launcher says there are {asked} processes, but Accelerate found {accelerator.num_processes}",
            where=f"this is process {accelerator.process_index}, on {accelerator.device}",
            next_step="torchrun --nproc_per_node N -m idemlab run ...",
        )
    return accelerator, Engine(accelerator.num_processes, sharded)


def _check_folder(run: Run, *, resume: bool) -> None:
    """The folder is new, or its run is to be resumed, and can be written."""
    if run.path.exists() and not run.path.is_dir():
        raise BadInput(f"'{run.path}' is a file", expected="a folder for the run", next_step="choose another --out")
    if run.experiment_file.is_file() and not resume:
        raise BadInput(
            f"'{run.path}' holds a run already",
            next_step=f"choose another --out, or go on with: {run.resuming}",
        )
    nearest = run.path
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK):
        raise Failure(
            f"the output folder '{run.path}' cannot be written", where=str(nearest), next_step="choose another --out"
        )


@contextmanager
def _held(run: Run, accelerator: Accelerator, *, resume: bool) -> Iterator[None]:
    """No other run writes to the folder. The main process holds it for all; if it cannot, none goes on."""
    with ExitStack() as stack:
        refusal: IdemlabError | None = None
        if accelerator.is_main_process:
            try:
                stack.enter_context(exclusive(run.path))
                _check_folder(run, resume=resume)  # another may have been here since
            except IdemlabError as error:
                refusal = error
        if accelerator.num_processes > 1:
            refused = torch.tensor(float(refusal is not None), device=accelerator.device)
            torch.distributed.all_reduce(refused)
            if refused.item() and refusal is None:
                refusal = Failure(f"the main process cannot have '{run.path}' for itself; see what it says")
        if refusal is not None:
            raise refusal
        yield


# -- the loop ---------------------------------------------------------------------------------------------------------


def not_finite(step: int, steps: int) -> str:
    """What is said of a run whose loss was not finite at a step, counted from 0."""
    return f"the loss is not finite at step {step + 1} of {steps}"


class _Latch:
    """Remembers the first step whose loss was not finite.

    On the CPU it is read at once. On an accelerator reading would stall the queue, so it stays on the device, fused
    optimisers skip their updates as soon as it is set, and it is read at the log interval.
    """

    def __init__(self, device: torch.device, engine: Engine, optimizers: list[torch.optim.Optimizer]) -> None:
        fused = all(optimizer.defaults.get("fused") for optimizer in optimizers)
        # The flag is no share of anything, and fused kernels do not take it beside parameters that are shared out.
        self.deferred = device.type == "cuda" and fused and bool(optimizers) and not engine.sharded
        self._world = engine.world
        self._first = torch.full((), -1.0, device=device)
        self._bad = torch.zeros((), device=device)
        if self.deferred:
            for optimizer in optimizers:
                optimizer.found_inf, optimizer.grad_scale = self._bad, None  # type: ignore[attr-defined]

    def see(self, loss: Tensor, step: int) -> None:
        """Look at the loss of a step that is about to be taken."""
        bad = (~torch.isfinite(loss.detach())).to(self._bad.dtype)
        if self._world > 1:
            torch.distributed.all_reduce(bad)
        self._first.copy_(torch.where((self._bad == 0) & (bad > 0), float(step), self._first))
        self._bad.copy_(torch.clamp(self._bad + bad, max=1.0))

    def first_bad_step(self) -> int | None:
        """The step at which it was set, or None."""
        first = int(self._first.item())
        return None if first < 0 else first


class _Loop:
    """One training run: state that the steps share."""

    def __init__(
        self,
        experiment: Experiment,
        catalog: Catalog,
        run: Run,
        parts: Parts,
        plan: Plan,
        accelerator: Accelerator,
        engine: Engine,
        optimizers: list[torch.optim.Optimizer],
        watcher: Watcher,
    ) -> None:
        self.experiment, self.catalog, self.run, self.parts, self.plan = experiment, catalog, run, parts, plan
        self.accelerator, self.engine, self.optimizers = accelerator, engine, optimizers
        self.watcher = watcher if accelerator.is_main_process else Watcher()
        self.world, self.rank = engine.world, accelerator.process_index
        self.projects = EnforcerKind.PROJECTION in plan.traits.kinds
        self.projected: Projected | None = None
        self.latch = _Latch(accelerator.device, engine, optimizers)
        self.sums: dict[str, tuple[Tensor, int]] = {}  # figures since the last log: (sum, how many)
        self.logged_at = 0
        self.started = time.perf_counter()
        self.since = self.started

    @property
    def bare(self) -> Objective:
        """The objective without the engine's wrappers."""
        return self.parts.objective

    def run_all(self, *, resume: bool, changed: Sequence[str]) -> Run:
        training = self.experiment.training
        if training.compile:
            self.bare.compile()
        self.objective, *_ = self.accelerator.prepare(self.bare, *self.optimizers)
        first = self._open_folder(resume=resume, changed=changed)
        self.watcher.started(self.experiment, self.plan, first)
        steps = range(first, self.plan.steps)
        stream = batches(self.parts.dataset, training, steps, rank=self.rank, world=self.world)
        with tracking(self.accelerator, self.experiment, self.watcher), stop_signals() as asked:
            if first == 0:
                self._save(0)
            for step in steps:
                self._step(step, stream)
                done = step + 1
                self.watcher.stepped(done)
                if done % training.log_every == 0 or done == self.plan.steps:
                    self._check_finite()
                    self._log(done)
                if done % self.experiment.evaluation.every == 0 and done < self.plan.steps:
                    self._evaluate(done, RANK_POINTS_IN_PASSING)
                stop = self._asked_to_stop(asked, done)
                if done % training.checkpoint_every == 0 or done == self.plan.steps or stop:
                    self._check_finite()
                    self._save(done)
                if stop and done < self.plan.steps:
                    raise Interrupted(
                        f"stopped after step {done} of {self.plan.steps}; the state is saved",
                        where=str(self.run.path),
                        next_step=self.run.resuming,
                    )
            self._finish()
        return self.run

    def _step(self, index: int, stream: Iterator[Batch]) -> None:
        """One optimiser step over one global batch."""
        training, settings = self.experiment.training, self.experiment.optimizer
        progress = index / self.plan.steps
        dtype: torch.dtype = getattr(torch, training.dtype)
        # Dropout, and what plugins draw past `Step`: other numbers in each process, for other rows.
        seed_everything(training.seed, index, *([self.rank] if self.rank else []))
        for micro in range(training.micro_batches):
            rows = self._answerable(index, lambda: next(stream))
            batch = rows.to(self.accelerator.device, dtype, self.parts.dataset.range)
            shard = Shard(self.rank, self.world, micro, training.micro_batches)
            step = Step(seed=training.seed, index=index, progress=progress, shard=shard)
            last = micro == training.micro_batches - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, figures = self._answerable(index, lambda: self.objective(batch, step))  # noqa: B023
                self.latch.see(loss, index)
                if not self.latch.deferred:
                    self._check_finite()
                if loss.requires_grad:
                    share = loss / training.micro_batches
                    self._answerable(index, lambda: self.accelerator.backward(share))  # noqa: B023
            self._count(figures)
        if settings.clip > 0:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), settings.clip)
        # The optimisers themselves: Accelerate's wrappers add a loss scaler, unused here, and an import at every step.
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * settings.share_of_rate(progress)
            optimizer.step()
            optimizer.zero_grad()
        if self.projects:
            shard_all(self.bare)
            self.projected = blame(self.experiment, lambda: project_weights(self.bare.enforcer, self.bare.operator))
            if self.projected is not None:
                self._count({"projection_residual": self.projected.residual})

    def _asked_to_stop(self, asked: Callable[[], bool], done: int) -> bool:
        """Whether any process was asked to. Several agree on it at the log interval only, as that takes a round trip."""
        if self.world == 1:
            return asked()
        if done % self.experiment.training.log_every:
            return False
        flag = torch.tensor(float(asked()), device=self.accelerator.device)
        torch.distributed.all_reduce(flag)
        return bool(flag.item())

    # -- figures ------------------------------------------------------------------------------------------------------

    def _count(self, figures: Mapping[str, Tensor]) -> None:
        """Add figures to the sums since the last log, on the device: the step reads nothing back."""
        for name, value in figures.items():
            total, count = self.sums.get(name, (0, 0))
            self.sums[name] = (total + value, count + 1)

    def _log(self, done: int) -> None:
        """Write the means since the last log."""
        means = {name: total / count for name, (total, count) in sorted(self.sums.items())}
        if self.world > 1:
            means = self.accelerator.reduce(means, reduction="mean")
        now, settings = time.perf_counter(), self.experiment.optimizer
        figures = {name: float(value) for name, value in means.items()}
        figures["lr"] = settings.lr * settings.share_of_rate((done - 1) / self.plan.steps)
        rate = (done - self.logged_at) / max(now - self.since, 1e-9)
        self._write(done, "train", figures, {"steps_per_second": round(rate, 3)})
        self.watcher.logged(done, figures)
        self.sums, self.logged_at, self.since = {}, done, now

    def _write(self, step: int, split: str, figures: dict[str, float], time_figures: dict[str, float]) -> None:
        """One line of metrics.jsonl; timings stand apart, under "time", as they differ from run to run."""
        if self.experiment.training.trackers:
            self.accelerator.log({f"{split}/{name}": value for name, value in figures.items()}, step=step)
        if self.accelerator.is_main_process:
            clock = {"seconds": round(time.perf_counter() - self.started, 3)} | time_figures
            entry = {"step": step, "split": split} | figures | {"time": clock}
            with (
                writing(self.run, self.run.metrics_file.name),
                self.run.metrics_file.open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(entry) + "\n")

    def _check_finite(self) -> None:
        """Stop at a loss that is not finite, with the last good state saved and all metrics written."""
        step = self.latch.first_bad_step()
        if step is None:
            return
        raise Failure(
            f"{not_finite(step, self.plan.steps)}; {self._keep(step)}",
            where=str(self.run.path),
            next_step="lower optimizer.lr or enforcer.weight, or clip the gradient: --set optimizer.clip=1.0",
        )

    def _answerable(self, done: int, call: Callable[[], T], doing: str = "the training step") -> T:
        """Do what plugins have a part in, after `done` steps. If one of them raises, all up to here is kept."""
        try:
            return blame(self.experiment, call, doing)
        except IdemlabError as error:
            if self.world == 1:  # the other processes would not take part
                error.what += f", after {done} of {self.plan.steps} steps; {self._keep(done)}"
                error.next_step = f"{error.next_step}; once it is mended: {self.run.resuming}"
            raise

    def _keep(self, step: int) -> str:
        """Log what is not yet logged, and save the state before a step that failed; says what was saved."""
        if self.sums:
            self._log(step)
        if not all(bool(torch.isfinite(whole(p.detach())).all()) for p in self.bare.parameters()):
            return "the last good state is the newest checkpoint"
        self._save(step)
        return f"the state before it is saved as step-{step}"

    # -- evaluation and files -----------------------------------------------------------------------------------------

    def _apply(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """f through the wrapped objective: in a distributed run nobody else calls the operator."""
        out: Tensor = self.objective(Batch(x, x, condition), mode="apply")[0]
        return out

    def _evaluate(self, done: int, rank_points: int) -> Evaluation:
        began = time.perf_counter()
        self.objective.eval()
        evaluation = self._answerable(
            done,
            lambda: evaluate(
                self.experiment, self.parts, self._apply, self.accelerator.device, rank_points=rank_points
            ),
            "the evaluation",
        )
        self.objective.train()
        took = time.perf_counter() - began
        self._write(done, "evaluation", evaluation.flat(), {"evaluation_seconds": round(took, 3)})
        self.watcher.evaluated(done, evaluation)
        self.since += took
        return evaluation

    def _save(self, done: int) -> None:
        objective, optimizers = self._stateful()
        # One row a process: each goes on with its own, so that a resumed run logs the same bits.
        sums = {name: (self.accelerator.gather(total[None]), count) for name, (total, count) in self.sums.items()}
        if self.accelerator.is_main_process:
            state = {"step": done, "sums": sums, "logged_at": self.logged_at}
            keep = self.experiment.training.keep
            save_checkpoint(self.run.checkpoints, done, objective, optimizers, state, keep=keep)
        self.accelerator.wait_for_everyone()

    def _stateful(self) -> tuple[Stateful, Sequence[Stateful]]:
        """Objective and optimisers as checkpoints keep them: whole, whatever the number of processes."""
        if not self.engine.sharded:
            return self.bare, self.optimizers
        shard_all(self.bare)
        return Whole(self.bare), [Whole(optimizer) for optimizer in self.optimizers]

    def _finish(self) -> None:
        evaluation = self._evaluate(self.plan.steps, self.experiment.evaluation.rank_points)
        operator = Whole(self.bare.operator) if self.engine.sharded else self.bare.operator
        if not self.accelerator.is_main_process:
            return
        remark = self.projected.sentence if self.projected else ""
        write_outcome(self.run, operator, self.parts.dataset, evaluation, self.plan, remark)

    def _open_folder(self, *, resume: bool, changed: Sequence[str]) -> int:
        """Find the step to go on from, and write what the run is made with."""
        checkpoint = latest(self.run.checkpoints, self.watcher.message) if resume else None
        self._agree_on(checkpoint)
        if checkpoint is None:
            if resume:
                self.watcher.message("there is no whole checkpoint: starting from the beginning")
            first = 0
        else:
            state = load_checkpoint(checkpoint, *self._stateful())
            first, self.logged_at = state["step"], state["logged_at"]
            self.sums = {name: (self._own(rows), n) for name, (rows, n) in state["sums"].items()}
            self.watcher.message(f"going on from {checkpoint.name}")
        if self.accelerator.is_main_process:
            if changed or not self.run.experiment_file.is_file():
                with writing(self.run, self.run.experiment_file.name):
                    write_text(self.run.experiment_file, self.experiment.to_toml())
            device = self.accelerator.device
            write_circumstances(self.run, self.catalog, self.plan, device, self.world, changed)
            self._drop_metrics_after(first)
            if first < self.plan.steps:  # a finished run that was made longer is not finished any more
                self.run.certificate_file.unlink(missing_ok=True)
            prune(self.run.checkpoints, first, self.experiment.training.keep)
        self.accelerator.wait_for_everyone()
        return first

    def _agree_on(self, checkpoint: Path | None) -> None:
        """All processes go on from the same checkpoint, or none does."""
        if self.world == 1:
            return
        step = -1 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
        found = self.accelerator.gather(torch.tensor([step], device=self.accelerator.device)).tolist()
        if len(set(found)) > 1:
            names = ", ".join("none" if step < 0 else f"step-{step}" for step in found)
            raise Failure(
                f"the processes do not see the same checkpoints; by process: {names}",
                where=str(self.run.checkpoints),
                next_step="choose an --out that all machines share",
            )

    def _own(self, rows: Tensor) -> Tensor:
        """This process's part of sums that are kept with one row a process; the mean where there were others."""
        own = rows[self.rank] if len(rows) == self.world else rows.mean(0)
        return own.to(self.accelerator.device)

    def _drop_metrics_after(self, step: int) -> None:
        """Entries that the resumed run will write again; the evaluation at the end comes after the last checkpoint."""
        last = {"step": self.plan.steps, "split": "evaluation"}
        kept = [entry for entry in self.run.metrics if entry["step"] <= step and not last.items() <= entry.items()]
        with writing(self.run, self.run.metrics_file.name):
            write_text(self.run.metrics_file, "".join(json.dumps(entry) + "\n" for entry in kept))
