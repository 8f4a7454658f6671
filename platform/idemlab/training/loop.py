"""The training loop, on Accelerate: one forward of the objective and one backward per micro-batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator

from ..catalog.catalog import Catalog, or_installed
from ..contracts.dataset import Batch, Dataset
from ..contracts.enforcer import follows_training
from ..contracts.specs import EnforcerKind
from ..contracts.step import Shard, Step, seed_everything
from ..errors import BadInput, Failure, IdemlabError, Interrupted
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from ..experiment.start import pinned
from ..objective.data import clusters_hash, under_clusters
from ..objective.engines import Engine, Stateful, whole
from ..objective.given import check_agreement, parts_of, resolved
from ..objective.objective import Objective
from ..objective.optimizers import build_optimizers, clear_gradients
from ..objective.parts import Parts, assemble
from ..objective.preflight import Plan, preflight
from ..objective.projection import Projected, project_weights
from ..objective.rates import Rates
from ..runs.changes import changes
from ..runs.run import Run
from ..runs.writing import append_entry
from ..system.files import as_path
from ..system.garbage import uncollected
from ..system.neighbours import Neighbours
from ..system.phases import phase, timed
from ..system.signals import stop_signals
from ..system.threads import SPINNING, spinning
from ..watching.progress import watching
from ..watching.watcher import Watcher, Watchers, check_watchers
from ..wording import counted
from .accelerator import competition, start_engine
from .batches import batches
from .checkpoint import load_checkpoint, save_checkpoint
from .evaluations import Evaluations
from .folder import begun_anew, check_folder, held, newest, open_folder
from .latch import Latch, not_finite
from .log import Clock, Sums
from .schedule import Schedule
from .trackers import Trackers

__all__ = ["train"]

T = TypeVar("T")


def train(
    experiment: Experiment | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    model: Any = None,
    dataset: Any = None,
    source: Any = None,
    enforcer: Any = None,
    metrics: Sequence[Any] | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    allow_changes: bool = False,
    watchers: Sequence[Watcher] = (),
    progress: bool = True,
    catalog: Catalog | None = None,
) -> Run:
    """Train an experiment and write a run folder.

    The parts `model` to `metrics` replace those of the experiment. Each is a name, a table as in an experiment file, an
    object, or a function that returns the object and is called without arguments. A table without a name changes arguments
    of the experiment's own part. The table that is given as `experiment` may contain objects, too.

    **Your objects stay as they are.** The run trains a copy of the module, from the values that it has now; the trained
    one is ``run.operator()``. So repeating the call repeats the run, and you can resume a run with the module that it
    began with. Frozen parameters stay frozen. Enforcers, sources and metrics are copied, too; data are not.

    The resolved file describes each object by its class, its size and a hash. It cannot hold the object, so `resume`, a
    second run of the file and `load` from the folder need the object again, and refuse another one.

    Args:
        experiment: a resolved experiment, or what `resolve` takes.
        out: folder of the run; must not hold a run unless `resume`.
        model: an `nn.Module` that maps samples to samples, in the precision of the run (`training.dtype`).
        dataset: a pair (train, test), or an `idemlab.Dataset`. Each of the two is a tensor or an array [N, *shape], a pair
            of one and its labels [N], or any map-style data set whose items are tensors or pairs (tensor, label). Samples
            are floating point, or uint8 for images, which are scaled to [0, 1].
        source: an `idemlab.Source`, or a list of sources.
        enforcer: an `idemlab.Enforcer`. If its class has an attribute `traits`, an `idemlab.Traits`, the checks before the
            training use it. Without one, batches are not cut over processes or micro-batches.
        metrics: a list; an object in it is an `idemlab.Metric`.
        overrides: as `resolve` takes them.
        resume: continue from the newest undamaged checkpoint of the folder.
        allow_changes: resume even if the experiment, or the version of idemlab, torch or a plugin it uses, has changed since
            the run began; environment.json lists the changes under "changes".
        watchers: receive the events of the run.
        progress: show the progress: a bar in a notebook and on a terminal, lines on stderr elsewhere.

    Raises:
        BadInput: before anything is written, if the experiment, an object or the folder does not fit, or an object that
            the run began with is missing.
        Failure: if the loss is not finite, the disk is full or a plugin raises; results so far are kept.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
    """
    if spinning() and torch.get_num_threads() > 1:
        warnings.warn(SPINNING, stacklevel=2)
    catalog = or_installed(catalog)
    parts = parts_of(model=model, dataset=dataset, source=source, enforcer=enforcer, metrics=metrics)
    experiment, catalog = resolved(experiment, overrides, parts, catalog)
    experiment = pinned(experiment)
    run = Run(as_path(out, "out"), catalog)
    check_folder(run, resume=resume)
    changed = changes(run, experiment, catalog) if resume else []
    if changed and not allow_changes:
        raise BadInput(
            f"the run in '{run.path}' began differently: " + "; ".join(changed),
            next_step="resume it unchanged, start a new run in another folder, or allow the changes (`allow_changes`)",
        )
    check_watchers(watchers)
    with watching() if progress else nullcontext(Watcher()) as shown:
        beside = Neighbours()
        loop = built(experiment, run, [shown, *watchers])
        engine = loop.engine
        check_agreement(experiment, engine)
        with held(run, engine, resume=resume):
            for remark in [
                engine.remark,
                competition(engine, beside) if progress else "",  # a sweep divides the cores
                *loop.parts.dataset.description,
                "" if resume else loop.parts.remark,
                *(f"changed since the run began: {change}" for change in changed),
            ]:
                if remark:
                    loop.watcher.message(remark)
            first = loop.prepare(resume=resume)
            if engine.main:
                open_folder(run, experiment, catalog, loop.plan, engine, first=first, changes=changed)
            engine.wait()
            loop.run_from(first)
    return run


@uncollected()  # torch's compiler is loaded here
def built(experiment: Experiment, run: Run, watchers: Sequence[Watcher] = (), dataset: Dataset | None = None) -> _Loop:
    """The loop of an experiment, after its preflight; nothing is written yet."""
    accelerator, engine = start_engine(experiment, run)
    parts = assemble(experiment, dataset)
    plan = preflight(experiment, parts, device=accelerator.device, engine=engine)
    objective = parts.objective.to(accelerator.device)
    objective.joins = plan.joins
    blame(experiment, lambda: objective.enforcer.on_start(objective.operator), "the enforcer's on_start")
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizers = build_optimizers(experiment.optimizer, trained, experiment.method)
    engine.adapt(optimizers)
    return _Loop(experiment, run, parts, plan, accelerator, engine, optimizers, watchers)


class _Loop:
    """One training run: state that the steps share."""

    def __init__(
        self,
        experiment: Experiment,
        run: Run,
        parts: Parts,
        plan: Plan,
        accelerator: Accelerator,
        engine: Engine,
        optimizers: list[torch.optim.Optimizer],
        watchers: Sequence[Watcher],
    ) -> None:
        self.experiment, self.run, self.parts, self.plan = experiment, run, parts, plan
        self.accelerator, self.engine, self.optimizers = accelerator, engine, optimizers
        self.watcher = Watchers(watchers if engine.main else ())
        self.schedule, self.rates = Schedule(experiment, plan.steps), Rates(experiment)
        self.projects = EnforcerKind.PROJECTION in plan.traits.kinds
        self.projected: Projected | None = None
        self.follows = follows_training(parts.objective.enforcer)
        # Projections, followers and averages change after a bad step, too: with them, every step is checked.
        self.latch = Latch(engine, [] if self.projects or self.follows or experiment.training.ema else optimizers)
        self.sums, self.clock = Sums(), Clock()
        self.clusters = clusters_hash(experiment, parts.dataset, engine)
        self.trackers = Trackers(accelerator, experiment, run, self.watcher, engine.main)
        self.evaluations = Evaluations(experiment, run, parts, plan, engine, self.watcher, self)

    @property
    def bare(self) -> Objective:
        """The objective without the engine's wrappers."""
        return self.parts.objective

    def prepare(self, *, resume: bool) -> int:
        """Hand the objective over to the engine, and load the newest checkpoint; returns the first step to train."""
        if self.experiment.training.compile:
            self.bare.compile()
        self.objective, *_ = self.accelerator.prepare(self.bare, *self.optimizers)
        self.evaluations.prepare(self.objective)
        if not resume:
            return 0
        checkpoint = newest(self.run, self.engine, self.watcher.message)
        if checkpoint is None:
            self.watcher.message(begun_anew(self.run))
            return 0
        state = load_checkpoint(checkpoint, *self._stateful(), under_clusters(self.clusters, self.run.path))
        self.sums.load(state["sums"], self.engine)
        self.clock = Clock(state["logged_at"])
        self.evaluations.load(state)
        self.watcher.message(f"resuming from {checkpoint.name}")
        return int(state["step"])

    def run_from(self, first: int) -> None:
        """Run all steps from `first` on, then the last evaluation, and write the results."""
        self.watcher.started(self.experiment, self.plan, first)
        error: BaseException | None = None
        try:
            self._run_from(first)
        except BaseException as stopped:
            error = stopped
            raise
        finally:
            self.watcher.ended(self.run, error)

    def _run_from(self, first: int) -> None:
        engine, due = self.engine, self.schedule
        done, steps = first, range(first, first if self.evaluations.over else self.plan.steps)
        stream = batches(self.parts.dataset, self.experiment.training, steps, rank=engine.rank, world=engine.world)
        with self.trackers.tracking(), stop_signals() as asked:
            self.evaluations.write_best()
            if first == 0:
                self._save(0)
            for step in steps:
                self.train_at(step, stream)
                done = step + 1
                ended = due.evaluates(done) and self.evaluations.end(done)
                stop = engine.stops(asked() or self.watcher.stop is not None, now=due.logs(done))
                if due.saves(done) or stop or ended:
                    self._check_finite()
                    if ended and self.sums:
                        self._log(done)
                    self._save(done)
                if ended:
                    break
                if stop and done < self.plan.steps:
                    raise self._stopped(done)
            asked.at_once = True  # the final evaluation may be long, and a resumed run repeats it
            try:
                if engine.stops(asked(), now=True):
                    raise self._stopped(done)
                self.evaluations.finish(done, self.projected.sentence if self.projected else "")
            except KeyboardInterrupt:
                raise self._stopped(done) from None
            finally:
                asked.at_once = False
            self.trackers.finish(done)

    def _stopped(self, done: int) -> Interrupted:
        """The error that ends a run before its last step: a watcher's own, if one stopped it."""
        stop = self.watcher.stop or Interrupted("")
        why = f": {stop.what}" if stop.what else ""
        stop.what = f"stopped after step {done} of {self.plan.steps}{why}; the state is saved"
        stop.where, stop.next_step = str(self.run.path), self.run.resuming
        return stop

    def train_at(self, index: int, stream: Iterator[Batch]) -> None:
        """One step, and its entry in the log where one is due."""
        self._step(index, stream)
        done = index + 1
        self.watcher.stepped(done)
        if self.schedule.logs(done):
            self._check_finite()
            self._log(done)

    def _step(self, index: int, stream: Iterator[Batch]) -> None:
        """One optimiser step over one global batch."""
        training, settings = self.experiment.training, self.experiment.optimizer
        rank, world, progress = self.engine.rank, self.engine.world, self.schedule.progress(index)
        dtype: torch.dtype = getattr(torch, training.dtype)
        # For dropout, and for plugins that do not draw through `Step`: each process has its own rows and its own numbers.
        seed_everything(training.seed, index, *([rank] if rank else []))
        for micro in range(training.micro_batches):
            with phase("data"):
                rows = self.answerable(index, lambda: next(stream))
                batch = rows.to(self.accelerator.device, dtype, self.parts.dataset.range)
            shard = Shard(rank, world, micro, training.micro_batches)
            measured = self.schedule.measures(index + 1)
            step = Step(seed=training.seed, index=index, progress=progress, shard=shard, measured=measured)
            last = micro == training.micro_batches - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                with phase("forward"):
                    loss, values = self.answerable(index, lambda: self.objective(batch, step))  # noqa: B023
                if self.latch.see(loss, index):
                    self._check_finite()
                if loss.requires_grad:
                    share = loss if training.micro_batches == 1 else loss / training.micro_batches
                    with phase("backward"):
                        # Accelerate's `backward` would divide by one and ask for a loss scaler, which bf16 does not need.
                        self.answerable(index, share.backward)
            self.sums.add(values)
        with phase("optimiser"):
            if settings.clip > 0:
                self.accelerator.clip_grad_norm_(self.objective.parameters(), settings.clip)
            self.rates.set(self.optimizers, progress)
            # The bare optimisers: Accelerate's wrappers add an unused loss scaler, and an import at every step.
            for optimizer in self.optimizers:
                self.answerable(index, optimizer.step)
                clear_gradients(optimizer)
        with phase("projection"):
            self._after_step(index)
        self.evaluations.follow(index + 1)

    def _after_step(self, index: int) -> None:
        """Let the enforcer project the weights and update its state, after the optimisers."""
        if not (self.projects or self.follows):
            return
        enforcer, operator = self.bare.enforcer, self.bare.operator
        self.engine.settle(self.bare)
        if self.projects:
            steers = self.plan.traits.targets_rank
            self.projected = blame(self.experiment, lambda: project_weights(enforcer, operator, steers=steers))
            if self.projected is not None:
                self.sums.add({"projection_residual": self.projected.residual})
        if self.follows:
            training, progress = self.experiment.training, self.schedule.progress(index)
            step = Step(seed=training.seed, index=index, progress=progress, purpose="after step")
            with torch.no_grad():
                blame(self.experiment, lambda: enforcer.after_step(operator, step), "the enforcer's after_step")

    # -- the log ------------------------------------------------------------------------------------------------------

    @timed("log")
    def _log(self, done: int) -> None:
        """Write the means since the last entry."""
        means = self.engine.mean(self.sums.means())
        values = {name: float(value) for name, value in means.items()}
        values["lr"] = self.rates.rate(self.schedule.progress(done - 1))
        self.write(done, "train", values, {"steps_per_second": self.clock.steps_per_second(done)})
        self.watcher.logged(done, values)
        self.sums.clear()

    def write(self, step: int, split: str, values: dict[str, float], timings: dict[str, float]) -> None:
        """Write one line of metrics.jsonl, and send it to the trackers."""
        self.trackers.log({f"{split}/{name}": value for name, value in values.items()}, step)
        if self.engine.main:
            append_entry(self.run, step, split, values, {"seconds": self.clock.seconds()} | timings)

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def _check_finite(self) -> None:
        """Stop if a loss was not finite, with the last good state saved and all metrics written."""
        (step,) = self.latch.first_bad_steps()
        if step is None:
            return
        raise Failure(
            f"{not_finite(step, self.plan.steps)}; {self.keep(step)}",
            where=str(self.run.path),
            next_step="lower optimizer.lr or enforcer.weight, or clip the gradient: set optimizer.clip = 1.0",
        )

    def answerable(self, done: int, call: Callable[[], T], doing: str = "the training step") -> T:
        """Call code that plugins take part in, after `done` steps. If it raises, everything up to here is saved."""
        try:
            return blame(self.experiment, call, doing)
        except IdemlabError as error:
            if self.engine.alone:  # saving needs all processes, and only this one failed
                error.what += f", after {done} of {counted(self.plan.steps, 'step')}; {self.keep(done)}"
                error.next_step = f"{error.next_step}; once that is fixed: {self.run.resuming}"
            raise

    def keep(self, step: int) -> str:
        """Write the pending log, save the state before a failed step, and return a sentence about what was saved."""
        if self.sums:
            self._log(step)
        if not all(bool(torch.isfinite(whole(p.detach())).all()) for p in self.bare.parameters()):
            return "the last good state is the newest checkpoint"
        self._save(step)
        return f"the state before it is saved as step-{step}"

    # -- the end, and checkpoints --------------------------------------------------------------------------------------

    @timed("checkpoint")
    def _save(self, done: int) -> None:
        objective, optimizers = self._stateful()
        state = {"step": done, "sums": self.sums.state(self.engine), "logged_at": self.clock.logged_at}
        state |= self.evaluations.state() | {"clusters": self.clusters}
        if self.engine.main:
            keep = self.experiment.training.keep
            path = save_checkpoint(self.run.checkpoints, done, objective, optimizers, state, keep=keep)
            self.watcher.saved(done, path)
        self.engine.wait()

    def _stateful(self) -> tuple[Stateful, Sequence[Stateful]]:
        """The states of objective and optimisers, as checkpoints keep them."""
        return self.engine.stateful(self.bare), [self.engine.stateful(optimizer) for optimizer in self.optimizers]
