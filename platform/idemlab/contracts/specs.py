"""What a plugin offers: one frozen record per named thing. Torch-free, so that listing is fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

__all__ = [
    "API_VERSION",
    "KINDS",
    "OLDEST_API_VERSION",
    "DatasetSpec",
    "EnforcerKind",
    "EnforcerSpec",
    "ExperimentSpec",
    "MetricSpec",
    "ModelSpec",
    "OptimizerSpec",
    "ScheduleSpec",
    "SourceSpec",
    "Spec",
    "StudySpec",
    "SuiteSpec",
    "TrackerSpec",
    "Traits",
]

API_VERSION = 1
"""The version of the hook specs and contracts. It increases by one when plugins must change."""
OLDEST_API_VERSION = 1
"""The oldest version that still works. A version is supported until one version after its replacement."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One named thing that a plugin offers.

    Args:
        name: lower-case words joined by hyphens, for instance ``manifold-distance``.
        factory: a plain function with annotated keyword arguments that imports its implementation inside.
            Its signature is the schema of the arguments in an experiment file, its docstring their help.
        summary: one line for ``idemlab list``.
        reference: paper or address.
        install: what to ``pip install`` when the factory's imports are missing, for instance ``idemlab[demo]``.
        api_version: the version of these contracts that the plugin was written for.
        aliases: other names for the same thing.

    Raises:
        ValueError: if a field is malformed or the factory cannot be called.
    """

    kind: ClassVar[str]
    reserved: ClassVar[tuple[str, ...]] = ()
    """Keys of its table that belong to the platform, so that no factory has arguments of these names."""

    name: str
    factory: Callable[..., Any]
    summary: str
    reference: str = ""
    install: str = ""
    api_version: int = API_VERSION
    aliases: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        """Number of first arguments of the factory that idemlab passes; a file gives the others."""
        return 0

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise ValueError(f"{type(self).__name__} {self.name!r}: aliases are a tuple, like ({self.aliases!r},)")
        for name in (self.name, *self.aliases):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"{type(self).__name__} name {name!r}: use lower-case words joined by hyphens, like 'my-name'"
                )
        if not callable(self.factory):
            raise ValueError(f"{type(self).__name__} {self.name!r}: factory must be a function")
        if type(self.api_version) is not int:
            raise ValueError(f"{type(self).__name__} {self.name!r}: api_version must be a whole number")


class EnforcerKind(StrEnum):
    """The four ways to make an operator idempotent."""

    LOSS = "loss"
    SUBSTITUTION = "gradient substitution"
    PROJECTION = "weight projection"
    ARCHITECTURE = "architecture"


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Properties and limits of an enforcer, read by the preflight and by the conformance kit.

    Args:
        kinds: which of the four kinds it is. A hybrid may be several; a control that enforces nothing is none.
        linear_only: works on linear maps only.
        smooth: its loss is differentiable at idempotents (L1 losses are not; relative errors are not at constant maps).
        orthogonally_equivariant: f -> Q f Q^T changes its update in the same way.
        batch_coupled: the loss of one sample depends on the others.
        stochastic: draws random numbers through `Step`.
        needs_double_backward: uses `create_graph`, which FSDP2 and torch.compile cannot do.
        needs_reconstruction: reads `Step.reconstruction`.
        batch_statistics: is exact on operators with batch statistics (BatchNorm).
        targets_rank: drives the rank to a value the user gives.
        preserves_rank: keeps the trace (and so the rank) that the operator has.
        domain: interval of real eigenvalues of the Jacobian on which it is defined, or None for all.
        live_depth: number of successive applications of f, after f(x), that it differentiates through.
        attracts: without a reconstruction term, it leads a map near an idempotent to an idempotent.
        watches_calls: observes the operator's calls themselves, for instance with hooks on its modules. Each source then
            gets its own calls; otherwise the points of all sources go through the operator together.
        expands: drives f(y) away from y where y is held fixed, as tightness does against a collapse.
        exact: an architecture whose operators are idempotent to rounding, whatever their weights.
        wraps: names of the methods besides forward that `wrap` needs of the model, such as `inverse`.
        calls: names of the methods beside forward that its loss calls on the operator through the orbit: `encode`, `decode`.
    """

    kinds: frozenset[EnforcerKind] = frozenset()
    linear_only: bool = False
    smooth: bool = True
    orthogonally_equivariant: bool = False
    batch_coupled: bool = False
    stochastic: bool = False
    needs_double_backward: bool = False
    needs_reconstruction: bool = False
    batch_statistics: bool = True
    targets_rank: bool = False
    preserves_rank: bool = False
    domain: tuple[float, float] | None = None
    live_depth: int = 0
    attracts: bool = True
    watches_calls: bool = False
    expands: bool = False
    exact: bool = False
    wraps: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """A network. The factory takes `shape` (of one sample, no batch) as its first argument and returns the operator, an
    `nn.Module` on [B, *shape] that keeps the shape; the other keyword arguments come from the experiment.

    A model with a method `start_from(dataset)` sees the data once, before training, and may set its first weights and its
    buffers from them; all of these must be part of its state.

    Args:
        exact: the model is idempotent to rounding, whatever its weights. The kit and the certificate check the claim.
        offers: names of its methods beside forward that enforcers and metrics use: `encode` and `decode`, with
            f(x) = decode(encode(x)), or `inverse`, of an invertible network that has the shape of a sample as `shape`.
        conditional: the model can be f(x, c). Its factory takes `classes` as its second argument: the number of classes, or
            None for f(x). Under a condition, `forward` and the methods that it offers take the class numbers [B] second.
    """

    kind = "model"
    reserved = ("weights", "weights_sha256", "freeze")

    exact: bool = False
    offers: tuple[str, ...] = ()
    conditional: bool = False

    @property
    def passed(self) -> int:
        """The shape of a sample, and the number of classes if the model is conditional."""
        return 2 if self.conditional else 1


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """Data. The factory returns an `idemlab.Dataset`.

    Args:
        labels: whether its samples can have labels. False refuses a condition on them before anything is loaded.
    """

    kind = "dataset"
    reserved = ("condition",)

    labels: bool = True


@dataclass(frozen=True, kw_only=True)
class EnforcerSpec(Spec):
    """An enforcer. The factory returns an `idemlab.Enforcer`.

    Args:
        traits: a `Traits`, or a torch-free function of the factory's arguments that returns one. The function receives the
            `Traits` of any enforcer among these arguments.
        by_hand: the same loss written without idemlab, which `idemlab.bench` times beside the enforcer. A function
            of the factory's arguments that returns {name: make}, empty where there is no plain form. make(f) is called
            once and returns loss(y, r), the weighted loss as a scalar, at y = f(points) [B, *shape] with gradient; r [B] is
            the reconstruction of each sample.
    """

    kind = "enforcer"
    traits: Traits | Callable[..., Traits] = field(default_factory=Traits)
    by_hand: Callable[..., Mapping[str, Callable[[Any], Callable[[Any, Any], Any]]]] | None = None

    def traits_for(self, arguments: dict[str, Any]) -> Traits:
        """The traits under the given (complete) arguments of the factory."""
        return self.traits if isinstance(self.traits, Traits) else self.traits(**arguments)


Features = tuple[str, ...] | Callable[..., tuple[str, ...]]
"""Names of features, or a torch-free function of a factory's arguments that returns them."""


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Spec):
    """A source of points. The factory returns an `idemlab.Source`.

    Args:
        features: names of the features from which it learns, or a torch-free function of the factory's arguments that
            returns them. An experiment whose metrics judge by the same features is refused.
    """

    kind = "source"
    features: Features = ()

    def features_for(self, arguments: dict[str, Any]) -> tuple[str, ...]:
        """The features under the given (complete) arguments of the factory."""
        return self.features(**arguments) if callable(self.features) else self.features


@dataclass(frozen=True, kw_only=True)
class MetricSpec(Spec):
    """A metric. The factory returns an `idemlab.Metric`.

    Args:
        inputs: names of the evaluation inputs it is measured at (`data`, `noise`, `corrupted`, ...); empty means all.
        calls: names of the methods beside forward that it calls on the operator through the orbit, such as `encode`.
        features: names of the features that it judges by, or a torch-free function of the factory's arguments that returns
            them. No source of the same experiment may learn from them.
    """

    kind = "metric"
    inputs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    features: Features = ()

    def features_for(self, arguments: dict[str, Any]) -> tuple[str, ...]:
        """The features under the given (complete) arguments of the factory."""
        return self.features(**arguments) if callable(self.features) else self.features


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Spec):
    """An optimiser. The factory takes the list of parameters to train as its first argument, and an argument `lr`.

    It returns a `torch.optim.Optimizer`, or a list of them that divide the parameters among them. The schedule scales
    their initial rates."""

    kind = "optimizer"

    @property
    def passed(self) -> int:
        """The parameters."""
        return 1


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(Spec):
    """A learning-rate schedule. The factory returns a function of the completed share of the run after the warm-up, in
    [0, 1). Its value is the learning rate as a share of `optimizer.lr`, at least 0; `optimizer.final` lifts it."""

    kind = "schedule"


@dataclass(frozen=True, kw_only=True)
class TrackerSpec(Spec):
    """A service that receives the metrics of a run. The factory returns an `accelerate.tracking.GeneralTracker`, or the name
    of one that Accelerate knows.

    At the end it also receives pictures (`log_images`) or files (`log_artifact`), if it has these methods.
    """

    kind = "tracker"


@dataclass(frozen=True, kw_only=True)
class ExperimentSpec(Spec):
    """A named experiment. The factory takes no argument and returns the path of its TOML file.

    Args:
        operator: folder of an operator that the experiment trained and that is shipped with it, laid out as a run.
    """

    kind = "experiment"
    operator: Path | None = None


@dataclass(frozen=True, kw_only=True)
class StudySpec(Spec):
    """A named study: sweeps, figures and claims. The factory takes no argument and returns an `idemlab.Study`."""

    kind = "study"


@dataclass(frozen=True, kw_only=True)
class SuiteSpec(Spec):
    """A named suite of a league: tasks, and arms that compete in them. The factory takes no argument and returns the path of
    its TOML file."""

    kind = "suite"


KINDS: dict[str, type[Spec]] = {
    spec.kind: spec
    for spec in (
        *(ModelSpec, DatasetSpec, EnforcerSpec, SourceSpec, MetricSpec, OptimizerSpec, ScheduleSpec, TrackerSpec),
        *(ExperimentSpec, StudySpec, SuiteSpec),
    )
}
"""Every kind of named thing, in the order in which `idemlab list` shows them."""
