"""One enforcer in a training loop that is not idemlab's: `loss = task_loss + enforce(f, x)`."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from ..catalog.catalog import installed
from ..catalog.faults import out_of_memory
from ..contracts.enforcer import Enforcer, follows_training
from ..contracts.orbit import Operator, Orbit
from ..contracts.specs import EnforcerKind, Traits
from ..contracts.step import Shard, Step
from ..errors import BadInput
from ..wording import counted, listed, shown, with_article
from .projection import project_weights

__all__ = ["LooseEnforcer", "enforcer"]


def enforcer(which: str | Enforcer, /, **arguments: Any) -> LooseEnforcer:
    """An enforcer for your own training loop: `loss = task_loss + enforce(f, x)`.

    Args:
        which: the name of an installed enforcer, or an `Enforcer`.
        arguments: of the named enforcer, as in an experiment: `weight=0.5`.

    Raises:
        BadInput: for an unknown name or argument, or a value that the enforcer does not take.
    """
    if isinstance(which, Enforcer):
        if arguments:
            raise BadInput(
                f"{type(which).__name__} is built already and takes no arguments: {', '.join(arguments)}",
                where="idemlab.enforcer",
                next_step="give the arguments where you build it",
            )
        return LooseEnforcer(which)
    if not isinstance(which, str):
        raise BadInput(
            f"this is {with_article(type(which).__name__)}, not an enforcer",
            where="idemlab.enforcer",
            expected="the name of an enforcer, or an instance of idemlab.Enforcer",
            next_step="idemlab list enforcers",
        )
    where = f"idemlab.enforcer({which!r})"
    if "name" in arguments:
        raise BadInput("the name of the enforcer is given twice", where=where, next_step="leave 'name' out")
    named = installed().check("enforcer", {"name": which, **arguments}, where)
    return LooseEnforcer(named.build_as(Enforcer), name=named.name, traits=named.traits())


class LooseEnforcer(nn.Module):
    """An enforcer without an experiment and a trainer: `enforce(f, x)` is its loss at the points x.

    It is a module. As an attribute of your module, it is moved, saved and loaded together with it.

    Args:
        enforcer: the enforcer to call.
        name: for messages; the default is the class.
        traits: of the enforcer, where they are known.

    Attributes:
        seed: of all random draws.
        index: number of optimiser steps done; `after_step` counts them, and `state_dict` keeps the number.
        steps: of the whole run. Schedules and warm-ups see the progress index / steps; without it, a finished run.
    """

    def __init__(self, enforcer: Enforcer, *, name: str | None = None, traits: Traits | None = None) -> None:
        super().__init__()
        self.enforcer = enforcer
        self.name = name or type(enforcer).__name__
        self.traits = traits
        self.seed, self.index = 0, 0
        self.steps: int | None = None
        kinds = None if traits is None else traits.kinds
        self._projects = _projects(enforcer) if kinds is None else EnforcerKind.PROJECTION in kinds
        self._wraps = _wraps(enforcer) if kinds is None else EnforcerKind.ARCHITECTURE in kinds
        self._wrapped = self._started = False
        self._step: _Step | None = None
        self._known: tuple[int, bool] | None = None
        """The operator that was checked last, by its id, and whether it was in training mode."""

    def forward(
        self,
        f: Callable[..., Tensor],
        x: Tensor,
        *,
        condition: Tensor | None = None,
        reconstruction: Tensor | None = None,
        step: Step | None = None,
    ) -> Tensor:
        """The loss of the enforcer at the points x, a scalar to add to your own before the one backward.

        It is the mean over the batch. An enforcer without a loss gives a zero without gradient.

        Args:
            f: keeps the shape of x; in training mode, it is called as in your own loop.
            x: [B, *shape], in floating point: the points at which f is made idempotent. They come from you: data, noise, or
                both, in one call or in several.
            condition: [B, ...], the second argument of f.
            reconstruction: [B], your data term sample by sample, with gradient, for an enforcer that reads it (`ign`).
            step: in place of the wrapper's own, with its seed, index, progress and shard.

        Raises:
            BadInput: if f changes the shape of x, x is no batch of floats, or something is missing that the enforcer needs.
        """
        self._check(f, x, condition, reconstruction)
        self._begin(f, x)
        self._check_calls(f)
        if step is None:
            step = self._step = self._step or self._new("train")
            self._step.given = reconstruction
        elif reconstruction is not None:
            step.reconstruction = reconstruction
        elif self.traits is not None and self.traits.needs_reconstruction and not _has_reconstruction(step):
            raise _no_reconstruction(self.name, self._where())
        try:
            loss = self.enforcer(_Orbit(f, x, condition), step).loss
        finally:
            if self._step is not None:
                self._step.given = None  # it holds a graph
        return x.new_zeros(()) if loss is None else loss.mean()

    def after_step(self, f: Operator, step: Step | None = None) -> None:
        """Call this after each step of your optimizer: it projects the weights of f and lets the enforcer update its state.

        Args:
            f: the operator.
            step: in place of the wrapper's own, to tell the index and progress of the finished step.

        Raises:
            BadInput: if f is no module, or has nothing that the enforcer could project.
        """
        if not isinstance(f, nn.Module):
            raise BadInput(
                f"f is {with_article(type(f).__name__)} without parameters",
                where=self._where("after_step"),
                expected="the module that is trained",
            )
        self._begin(f, None)
        operator = _bare(f)
        steers = self.traits is not None and self.traits.targets_rank
        if self._projects and project_weights(self.enforcer, operator, steers=steers) is None:
            raise BadInput(
                f"enforcer '{self.name}' projects square linear maps, and f has none",
                where=self._where("after_step"),
                expected="an nn.Linear with as many outputs as inputs",
            )
        if follows_training(self.enforcer):
            with torch.no_grad():
                self.enforcer.after_step(operator, step or self._new("after step"))
        self.index += 1
        self._step = None

    def on_start(self, f: Operator) -> None:
        """Let the enforcer create its state. Without this call, the first use of the enforcer does it.

        Call it before you load a saved state. An enforcer that trains parameters of its own needs it before the optimizer is
        made, and says so.
        """
        self._started = True
        self.enforcer.on_start(_bare(f))

    def wrap(self, f: Operator) -> Operator:
        """For an architecture: the operator made idempotent by construction, to be trained in place of f."""
        self._wrapped = True
        return self.enforcer.wrap(f)

    def get_extra_state(self) -> Tensor:
        """The number of steps done."""
        return torch.tensor(self.index)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue counting from a saved number of steps."""
        self.index = int(state)

    def extra_repr(self) -> str:
        return repr(self.name)

    def _where(self, call: str = "") -> str:
        return f"idemlab.enforcer({self.name!r})" + (f".{call}" if call else "")

    def _new(self, purpose: str) -> _Step:
        steps: object = self.steps
        if steps is not None and not (isinstance(steps, Real) and float(steps) > 0):  # of NumPy, or a quotient, too
            raise BadInput(
                f"enforce.steps is {shown(steps)}",
                where=self._where(),
                expected="the number of steps of the whole run, above 0, or None",
            )
        progress = 1.0 if self.steps is None else min(self.index / self.steps, 1.0)
        return _Step(self, index=self.index, progress=progress, purpose=purpose)

    def _begin(self, f: object, x: Tensor | None) -> None:
        """Before the first use: create the state, and move it to the device of x."""
        if self._wraps and not self._wrapped:
            raise BadInput(
                f"enforcer '{self.name}' is an architecture: it changes the operator itself",
                where=self._where(),
                next_step="before the optimizer is made, write f = enforce.wrap(f), and train that f",
            )
        if not self._started and follows_training(self.enforcer):
            if not isinstance(f, nn.Module):
                raise BadInput(
                    f"enforcer '{self.name}' keeps a state made from the operator, and f is a plain function",
                    where=self._where(),
                    expected="the module that is trained",
                )
            before = set(self.parameters())
            self.on_start(f)
            own = sum(p.numel() for p in set(self.parameters()) - before if p.requires_grad)
            if own:
                raise BadInput(
                    f"enforcer '{self.name}' trains {counted(own, 'parameter')} of its own, "
                    "which your optimizer does not know",
                    where=self._where(),
                    next_step="call enforce.on_start(f) first, and give the optimizer enforce.parameters(), too",
                )
        if x is not None and any(t.device != x.device for t in [*self.parameters(), *self.buffers()]):
            self.to(x.device)

    def _check(self, f: object, x: object, condition: object, reconstruction: object) -> None:
        def refuse(what: str, expected: str, next_step: str | None = None) -> None:
            raise BadInput(what, where=self._where(), expected=expected, next_step=next_step)

        if not callable(f):
            refuse(f"f is {with_article(type(f).__name__)}, which cannot be called", "a module or a function f(x)")
        if isinstance(f, type):
            refuse(f"f is the class {f.__name__}", "an instance of it", f"{f.__name__}(...)")
        if not isinstance(x, Tensor):
            refuse(f"x is {with_article(type(x).__name__)}", "a tensor [B, *shape]", "torch.as_tensor(x)")
        assert isinstance(x, Tensor)
        if not x.is_floating_point():
            real = "torch.view_as_real(x)" if x.is_complex() else "x.float()"
            refuse(f"x is in {str(x.dtype).removeprefix('torch.')}", "floating point", real)
        if x.layout is not torch.strided:
            refuse("x is a sparse tensor", "a dense one", "x.to_dense()")
        if x.ndim < 2 or x.numel() == 0:
            refuse(f"x has the shape {list(x.shape)}", "a batch of at least one sample, [B, *shape]")
        if condition is not None and not (
            isinstance(condition, Tensor) and condition.ndim and len(condition) == len(x)
        ):
            refuse(
                f"condition is {_told(condition)}",
                f"a tensor with one condition for each of {counted(len(x), 'sample')}",
            )
        if reconstruction is not None and not (
            isinstance(reconstruction, Tensor) and reconstruction.shape == x.shape[:1]
        ):
            refuse(
                f"reconstruction is {_told(reconstruction)}",
                f"one value for each sample, [{len(x)}]",
                "do not take the mean over the batch",
            )

    def _check_calls(self, f: object) -> None:
        """Refuse an f without the methods that the enforcer calls, or with batch statistics that it cannot stand."""
        self._check_statistics(f)
        calls = () if self.traits is None else self.traits.calls
        missing = [repr(name) for name in calls if not callable(getattr(_bare(f), name, None))]
        if missing:
            raise BadInput(
                f"enforcer '{self.name}' calls {listed(missing)} of f, which {type(f).__name__} does not have",
                where=self._where(),
                expected="a module with these methods: f = decode(encode(x)), say",
                next_step="write them, or choose another enforcer: idemlab list enforcers",
            )

    def _check_statistics(self, f: object) -> None:
        if self.traits is None or self.traits.batch_statistics or not isinstance(f, nn.Module):
            return
        if self._known == (id(f), f.training):
            return
        norms = [
            n for n, m in _bare(f).named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
        ]
        if norms:
            raise BadInput(
                f"enforcer '{self.name}' is not exact on an operator with batch statistics ('{norms[0]}')",
                where=self._where(),
                next_step="put torch.nn.GroupNorm in the place of batch normalisation, or choose another enforcer",
            )
        self._known = id(f), f.training


class _Step(Step):
    """A step of a loose enforcer: the reconstruction is what the call gives."""

    given: Tensor | None = None

    def __init__(self, loose: LooseEnforcer, *, index: int, progress: float, purpose: str) -> None:
        super().__init__(seed=loose.seed, index=index, progress=progress, purpose=purpose, shard=_shard())
        self._name, self._place = loose.name, loose._where()

    @property
    def reconstruction(self) -> Tensor:
        """What the call gives.

        Raises:
            BadInput: if it gives none.
        """
        if self.given is None:
            raise _no_reconstruction(self._name, self._place)
        return self.given

    @reconstruction.setter
    def reconstruction(self, value: Tensor) -> None:
        self.given = value


class _Orbit(Orbit):
    """An orbit that says what is wrong with an operator that keeps no shape."""

    def apply(self, y: Tensor) -> Tensor:
        try:
            after: object = super().apply(y)
        except RuntimeError as error:
            if y.dtype != self.input.dtype and not out_of_memory(error):
                raise self._precision(y) from error
            raise
        if not isinstance(after, Tensor) or after.shape != y.shape:
            made = f"points {_told(after)}" if isinstance(after, Tensor) else _told(after)
            raise BadInput(
                f"f returns {made} for points of the shape {list(y.shape)}",
                where="the operator given to an enforcer",
                expected="f keeps the shape of its input",
            )
        if not after.is_floating_point():
            raise self._precision(after)
        return after  # mixed precision may lower that of the first point, which is no fault as long as f takes it again

    def _precision(self, y: Tensor) -> BadInput:
        was, became = (str(t.dtype).removeprefix("torch.") for t in (self.input, y))
        return BadInput(
            f"f returns points in {became} for points in {was}",
            where="the operator given to an enforcer",
            expected="f keeps the precision of its input, so that f(f(x)) exists",
            next_step="return y.to(x.dtype) from its forward",
        )


def _no_reconstruction(name: str, where: str) -> BadInput:
    return BadInput(
        f"enforcer '{name}' reads your data term, and the call gives none",
        where=where,
        expected="reconstruction=r, your data term for each sample, [B], with its gradient",
        next_step="give it, or choose arguments that do not need it (clamp=0 for ign)",
    )


def _has_reconstruction(step: Step) -> bool:
    try:
        return isinstance(step.reconstruction, Tensor)
    except RuntimeError:
        return False


def _told(value: object) -> str:
    return f"of the shape {list(value.shape)}" if isinstance(value, Tensor) else with_article(type(value).__name__)


def _shard() -> Shard:
    """The rows of this process, if the caller's loop runs in several."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return Shard()
    return Shard(rank=group.get_rank(), world=group.get_world_size())


def _bare(f: Any) -> Any:
    """The operator inside the wrappers of a data-parallel engine and of torch.compile."""
    while True:
        inner = f.module if isinstance(f, nn.parallel.DistributedDataParallel) else getattr(f, "_orig_mod", f)
        if inner is f:
            return f
        f = inner


def _projects(enforcer: Enforcer) -> bool:
    """Whether an enforcer of unknown traits is a weight projection. A hybrid of losses returns the very matrix."""
    if type(enforcer).project is Enforcer.project:
        return False
    probe = torch.eye(8, dtype=torch.float64)
    try:
        return enforcer.project(probe) is not probe
    except Exception:  # it has something to say against the probe, so it is one
        return True


def _wraps(enforcer: Enforcer) -> bool:
    """Whether an enforcer of unknown traits, or one inside it, is an architecture."""
    inside = [module for module in enforcer.modules() if isinstance(module, Enforcer)]
    leaves = [e for e in inside if not any(isinstance(m, Enforcer) for m in e.modules() if m is not e)]
    return any(type(leaf).wrap is not Enforcer.wrap for leaf in leaves)
