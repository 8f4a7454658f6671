"""Metrics, as hooks. Nothing heavy is imported before something is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from idemlab import MetricSpec, hookimpl


def reconstruction_error() -> Any:
    """mean |f(x) - x| at the data: how well the operator leaves alone what it should leave alone. In the data's own
    scale; where the data set has targets of its own (sorted lists, say), against them."""
    from .errors import TargetError

    return TargetError("reconstruction_error")


def restoration_error() -> Any:
    """mean |f(x) - clean| at corrupted data: how well the operator repairs. In the data's own scale."""
    from .errors import TargetError

    return TargetError("restoration_error")


def manifold_distance() -> Any:
    """Mean Euclidean distance of f(x) to the manifold that the data lie on, at every kind of input. Needs a data set whose
    manifold is known, such as `torus`."""
    from .errors import ManifoldDistance

    return ManifoldDistance()


def nearest_training() -> Any:
    """Mean Euclidean distance of f(z) to the nearest training sample, and the same of test samples
    (`nearest_training_of_test`). Much below that of test samples: the training set is memorised."""
    from .nearest import NearestTraining

    return NearestTraining()


def class_coverage() -> Any:
    """How many generated samples a small classifier can read with more than 90 % confidence, how many it cannot, and how
    many classes they cover (with half of an equal share at least). The classifier is trained once, on the training split,
    from a fixed seed; what it makes of test samples stands beside it."""
    from .coverage import ClassCoverage

    return ClassCoverage()


@hookimpl
def provide_metrics() -> Iterable[MetricSpec]:
    """What is measured beyond the certificate."""
    yield MetricSpec(
        name="reconstruction-error",
        factory=reconstruction_error,
        summary="mean |f(x) - target| at the data.",
        inputs=("data",),
    )
    yield MetricSpec(
        name="restoration-error",
        factory=restoration_error,
        summary="mean |f(x) - clean| at corrupted data.",
        inputs=("corrupted",),
    )
    yield MetricSpec(
        name="manifold-distance",
        factory=manifold_distance,
        summary="Distance of f(x) to the known manifold of the data.",
    )
    yield MetricSpec(
        name="nearest-training",
        factory=nearest_training,
        summary="Distance of f(z) to the nearest training sample.",
        inputs=("noise",),
    )
    yield MetricSpec(
        name="class-coverage",
        factory=class_coverage,
        summary="Readable outputs and the classes they cover, by a small classifier.",
        inputs=("noise",),
    )
