"""The hooks that a plugin can implement, one per kind of thing. Each hook yields specs, so one function makes a plugin.

A plugin is a module that an entry point of the group ``idemlab`` names::

    [project.entry-points.idemlab]
    shrink = "idemlab_shrink"
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .specs import (
    DatasetSpec,
    EnforcerSpec,
    ExperimentSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    ScheduleSpec,
    SourceSpec,
    StudySpec,
    SuiteSpec,
    TrackerSpec,
)

__all__ = ["PROJECT", "HookSpecs", "hookimpl", "hookspec"]

PROJECT = "idemlab"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """The hooks. The example of each is a complete plugin module."""

    @hookspec
    def provide_models(self) -> Iterable[ModelSpec]:  # type: ignore[empty-body]
        """Yield the models that this plugin offers.

        Example::

            from idemlab import ModelSpec, hookimpl

            def affine(shape: tuple[int, ...], bias: bool = True):
                import math
                from torch import nn
                n = math.prod(shape)
                return nn.Sequential(nn.Flatten(), nn.Linear(n, n, bias=bias), nn.Unflatten(1, shape))

            @hookimpl
            def provide_models():
                yield ModelSpec(name="affine", factory=affine, summary="One affine map of the flattened sample.")
        """

    @hookspec
    def provide_datasets(self) -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
        """Yield the data sets that this plugin offers.

        Example::

            from typing import Annotated
            from annotated_types import Gt
            from idemlab import DatasetSpec, hookimpl

            def circle(points: Annotated[int, Gt(0)] = 1000):
                import torch
                from idemlab import Dataset
                angle = torch.linspace(0, 6.283, points)
                ring = torch.stack([angle.cos(), angle.sin()], dim=1)
                return Dataset.of_tensors(train=ring[::2], test=ring[1::2], range=(-1.0, 1.0))

            @hookimpl
            def provide_datasets():
                yield DatasetSpec(name="circle", factory=circle, summary="The unit circle in the plane.")
        """

    @hookspec
    def provide_enforcers(self) -> Iterable[EnforcerSpec]:  # type: ignore[empty-body]
        """Yield the enforcers that this plugin offers.

        Example::

            from typing import Annotated
            from annotated_types import Ge
            from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

            def squared(weight: Annotated[float, Ge(0)] = 1.0):
                from idemlab import Enforcement, Enforcer

                class Squared(Enforcer):
                    def forward(self, orbit, step):
                        residual = orbit.live(2) - orbit.output
                        return Enforcement(loss=weight * residual.flatten(1).square().mean(1))

                return Squared()

            @hookimpl
            def provide_enforcers():
                yield EnforcerSpec(
                    name="squared", factory=squared, summary="Mean squared idempotence error.",
                    traits=Traits(kinds=frozenset({EnforcerKind.LOSS}), orthogonally_equivariant=True, live_depth=1),
                )
        """

    @hookspec
    def provide_sources(self) -> Iterable[SourceSpec]:  # type: ignore[empty-body]
        """Yield the sources of points that this plugin offers.

        Example::

            from typing import Annotated
            from annotated_types import Gt
            from idemlab import SourceSpec, hookimpl

            def uniform(bound: Annotated[float, Gt(0)] = 1.0):
                from idemlab import Points, Source

                class Uniform(Source):
                    def sample(self, batch, step, operator):
                        return Points(bound * (2 * step.uniform(batch.input) - 1))

                return Uniform()

            @hookimpl
            def provide_sources():
                yield SourceSpec(name="uniform", factory=uniform, summary="Uniform noise in a cube.")
        """

    @hookspec
    def provide_metrics(self) -> Iterable[MetricSpec]:  # type: ignore[empty-body]
        """Yield the metrics that this plugin offers.

        Example::

            from idemlab import MetricSpec, hookimpl

            def largest_change():
                from idemlab import Metric

                class LargestChange(Metric):
                    def __call__(self, orbit, batch):
                        change = (orbit.output - orbit.input).flatten(1).abs().amax(1)
                        return {"largest_change": change}

                return LargestChange()

            @hookimpl
            def provide_metrics():
                yield MetricSpec(name="largest-change", factory=largest_change, summary="max |f(x) - x| of each sample.")
        """

    @hookspec
    def provide_optimizers(self) -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
        """Yield the optimizers that this plugin offers.

        Example::

            from typing import Annotated
            from annotated_types import Ge, Lt
            from idemlab import OptimizerSpec, hookimpl

            def lion(parameters: list, lr: float = 1e-4, memory: Annotated[float, Ge(0), Lt(1)] = 0.99):
                import torch

                class Lion(torch.optim.Optimizer):
                    @torch.no_grad()
                    def step(self, closure=None):
                        for group in self.param_groups:
                            for p in group["params"]:
                                if p.grad is not None:
                                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                                    p.sub_(group["lr"] * mean.lerp(p.grad, 0.1).sign())
                                    mean.lerp_(p.grad, 1 - memory)

                return Lion(parameters, {"lr": lr})

            @hookimpl
            def provide_optimizers():
                yield OptimizerSpec(name="lion", factory=lion, summary="Steps of the sign of a slow mean gradient.")
        """

    @hookspec
    def provide_schedules(self) -> Iterable[ScheduleSpec]:  # type: ignore[empty-body]
        """Yield the schedules that this plugin offers.

        Example::

            from typing import Annotated
            from annotated_types import Gt
            from idemlab import ScheduleSpec, hookimpl

            def square_root(share: Annotated[float, Gt(0)] = 0.1):
                return lambda progress: (1 + progress / share) ** -0.5

            @hookimpl
            def provide_schedules():
                yield ScheduleSpec(name="square-root", factory=square_root, summary="Falls as 1 / sqrt(1 + progress).")
        """

    @hookspec
    def provide_trackers(self) -> Iterable[TrackerSpec]:  # type: ignore[empty-body]
        """Yield the trackers that this plugin offers.

        Example::

            from idemlab import TrackerSpec, hookimpl

            def lines(file: str = "log.txt"):
                from pathlib import Path
                from accelerate.tracking import GeneralTracker, on_main_process

                class Lines(GeneralTracker):
                    name, requires_logging_directory, tracker = "lines", False, None

                    @on_main_process
                    def store_init_configuration(self, values):
                        Path(file).write_text(f"{values}\\n")

                    @on_main_process
                    def log(self, values, step=None, **_):
                        with Path(file).open("a") as out:
                            out.write(f"{step} {values}\\n")

                return Lines()

            @hookimpl
            def provide_trackers():
                yield TrackerSpec(name="lines", factory=lines, summary="A text file of your own.")
        """

    @hookspec
    def provide_experiments(self) -> Iterable[ExperimentSpec]:  # type: ignore[empty-body]
        """Yield the experiments that this plugin offers.

        Example::

            from pathlib import Path
            from idemlab import ExperimentSpec, hookimpl

            @hookimpl
            def provide_experiments():
                for path in sorted((Path(__file__).parent / "experiments").glob("*.toml")):
                    yield ExperimentSpec(name=path.stem, factory=lambda path=path: path, summary="An experiment of mine.")
        """

    @hookspec
    def provide_studies(self) -> Iterable[StudySpec]:  # type: ignore[empty-body]
        """Yield the studies that this plugin offers.

        Example::

            from idemlab import StudySpec, hookimpl

            def steps():
                from idemlab import Claim, Findings, Study, Sweep

                def examine(material):
                    by_step = material.results["step"].ranges(["data/relative"])
                    best = by_step.sort_values("data/relative").iloc[0]
                    found = Claim(
                        claim="A full step is the best.",
                        ours=f"step {best['enforcer.step']}: relative error {best['data/relative']:.1e}",
                        conclusion="Do not damp.",
                        holds=bool(best["enforcer.step"] == 1.0),
                    )
                    return Findings(claims=[found], tables={"steps": by_step})

                sweep = Sweep(experiment="linear-cubic", over={"enforcer.step": [0.5, 1.0]}, seeds=2)
                return Study(examine=examine, sweeps={"step": sweep}, quick={"step": sweep})

            @hookimpl
            def provide_studies():
                yield StudySpec(name="steps", factory=steps, summary="How large a step of the cubic iteration may be.")
        """

    @hookspec
    def provide_suites(self) -> Iterable[SuiteSpec]:  # type: ignore[empty-body]
        """Yield the suites of leagues that this plugin offers.

        Example::

            from pathlib import Path
            from idemlab import SuiteSpec, hookimpl

            def mine():
                return Path(__file__).parent / "suites" / "mine.toml"

            @hookimpl
            def provide_suites():
                yield SuiteSpec(name="mine", factory=mine, summary="Tasks of mine, for enforcers to compete in.")
        """
