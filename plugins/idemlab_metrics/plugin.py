"""Metrics, as hooks. Nothing heavy is imported before something is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from annotated_types import Ge

from idemlab import MetricSpec, hookimpl

Features = Literal["cnn", "pca", "inception"]


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
    """How many generated samples a small classifier can read with more than 90 % confidence, how many it cannot, how many
    classes they cover (with half of an equal share at least), the smallest share, the entropy of the shares over log K,
    and how sure the classifier is; some of it at f(f(f(z))), too. The classifier is trained once, on the training split,
    from a fixed seed, and kept in ~/.cache/idemlab; what it makes of test samples stands beside it."""
    from .coverage import ClassCoverage

    return ClassCoverage()


def frechet_distance(features: Features = "cnn") -> Any:
    """Fréchet distance between f(z), f(f(z)), f(f(f(z))) and the training samples, in features of a named extractor, and
    the same of as many test samples: the floor. Figures `frechet_cnn_1`, `_2`, `_3`, `frechet_cnn_of_test`; the name FID
    (`fid_1`, ...) is kept for features of Inception. Sets of different size do not compare.

    Args:
        features: what the samples are compared in. `cnn`: the last hidden layer of a small classifier, trained once on the
            data's own training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split
            stands beside the figures. `pca`: the 64 leading principal components of the pixels (any data).
            `inception`: torchvision's Inception v3, where its weights lie in torch hub's folder; never downloaded.
    """
    from .frechet import FrechetDistance

    return FrechetDistance(features)


def precision_recall(features: Features = "cnn") -> Any:
    """Improved precision and recall (3 neighbours), density and coverage (5 neighbours) of f(z), f(f(z)), f(f(f(z)))
    against as many training samples, in features of a named extractor, and the same of test samples: the ceiling.
    Precision and density: do outputs look like data. Recall and coverage: does all of the data occur among them.
    Figures `precision_cnn_1`, ..., `precision_cnn_of_test`, and so on.

    Args:
        features: what the samples are compared in. `cnn`: the last hidden layer of a small classifier, trained once on the
            data's own training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split
            stands beside the figures. `pca`: the 64 leading principal components of the pixels (any data).
            `inception`: torchvision's Inception v3, where its weights lie in torch hub's folder; never downloaded.
    """
    from .manifolds import PrecisionRecall

    return PrecisionRecall(features)


def diversity(features: Features = "cnn") -> Any:
    """Mean distance of f(z) and f(z') over that of two test samples, in pixels (`diversity_pixels`) and in features of a
    named extractor (`diversity_cnn`): 1 is as diverse as data, 0 one output whatever z is.

    Args:
        features: what the samples are compared in. `cnn`: the last hidden layer of a small classifier, trained once on the
            data's own training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split
            stands beside the figures. `pca`: the 64 leading principal components of the pixels (any data).
            `inception`: torchvision's Inception v3, where its weights lie in torch hub's folder; never downloaded.
    """
    from .diversity import Diversity

    return Diversity(features)


def drift(depth: Annotated[int, Ge(2)] = 3) -> Any:
    """How far f^k(x) is from f(x), over the spread of f(x): the relative error from f straight to f^k (`drift_3`).

    Args:
        depth: k, 2 or more.
    """
    from .drift import Drift

    return Drift(depth)


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
    yield MetricSpec(
        name="frechet-distance",
        factory=frechet_distance,
        summary="Fréchet distance of f(z), f(f(z)), f(f(f(z))) to the data, in named features.",
        reference="https://arxiv.org/abs/1706.08500",
        inputs=("noise",),
    )
    yield MetricSpec(
        name="precision-recall",
        factory=precision_recall,
        summary="Precision, recall, density and coverage of f(z), f(f(z)), f(f(f(z))).",
        reference="https://arxiv.org/abs/1904.06991, https://arxiv.org/abs/2002.09797",
        inputs=("noise",),
    )
    yield MetricSpec(
        name="diversity",
        factory=diversity,
        summary="How much outputs differ across z, beside how much data do.",
        inputs=("noise",),
    )
    yield MetricSpec(
        name="drift",
        factory=drift,
        summary="Relative change from f(x) to f^k(x).",
    )
