"""The metrics that idemlab ships. Nothing heavy is imported until something is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from annotated_types import Ge

from idemlab import MetricSpec, hookimpl

Features = Literal["cnn", "hog", "pca", "inception"]


def reconstruction_error() -> Any:
    """mean |f(x) - x| at the data: how well the operator leaves data unchanged.

    It is in the data's own scale. If the data set has targets of its own (sorted lists, say), they take the place of x."""
    from .errors import TargetError

    return TargetError("reconstruction_error")


def restoration_error() -> Any:
    """mean |f(x) - clean| at corrupted data: how well the operator repairs them, in the data's own scale."""
    from .errors import TargetError

    return TargetError("restoration_error")


def manifold_distance() -> Any:
    """Mean Euclidean distance of f(x) to the manifold of the data, at every set of inputs.

    It needs a data set whose manifold is known, such as `torus`."""
    from .errors import ManifoldDistance

    return ManifoldDistance()


def projection_distance() -> Any:
    """Mean Euclidean distance of f(x) to P(x), the output of the exact projection, at every set of inputs.

    `projection_error` is the same relative to the spread of P(x): 1 is the error of the best constant. It needs a data set
    whose exact projection is known, such as `torus`, `sphere`, `ball` or `sequences`."""
    from .errors import ProjectionDistance

    return ProjectionDistance()


def psnr() -> Any:
    """Peak signal-to-noise ratio of f(x) against the target, in decibels: larger is better, 100 for equal images.

    The mean over the samples of 10 log10(width^2 / mean squared error), with the width of the data's range."""
    from .likeness import Psnr

    return Psnr()


def ssim() -> Any:
    """Structural similarity of f(x) and the target, at most 1: larger is better.

    The mean over samples and Gaussian windows of 11 x 11 pixels, with the constants of Wang et al. 2004."""
    from .likeness import Ssim

    return Ssim()


def nearest_training() -> Any:
    """Mean Euclidean distance of f(z) to the nearest training sample: does the operator memorise?

    `nearest_training_of_test` is the same distance for test samples. If f(z) is much nearer, the training set is
    memorised."""
    from .nearest import NearestTraining

    return NearestTraining()


def data_copying(features: Features = "pca") -> Any:
    """Which share of outputs f(z) copy training samples? Unlike a distance, it is not fooled by smooth images.

    Is the nearest neighbour of f(z) a training sample, or one that was held out? For a new image, smooth or not, chance
    decides; for a copy, blurred or not, it is the training sample. It reports `copied_pca`, the estimated share of copies,
    and `copied_pca_margin`, half of its 95 % interval. Training and held-out samples must come from one distribution. In
    MNIST other people wrote the test digits, so even a perfect generator of training digits scores above 0.

    Args:
        features: space in which samples are compared, as for `frechet-distance`. Prefer `pca` and `hog`: the classifier of
            `cnn` has seen the training samples.
    """
    from .copying import DataCopying

    return DataCopying(features)


def class_coverage() -> Any:
    """Which classes the generated samples cover, and how many samples a small classifier can read.

    Readable means that the classifier is more than 90 % confident. A class is covered if it has at least half of an equal
    share of the samples. Also reported: the smallest share, the entropy of the shares over log K, the mean confidence,
    the same numbers for test samples, and some of them at f(f(f(z))). The classifier is trained once on the training split,
    from a fixed seed, and kept in ~/.cache/idemlab."""
    from .coverage import ClassCoverage

    return ClassCoverage()


def asked_class() -> Any:
    """Whether f(z, c) has the requested class c, for data sets with labels as the condition.

    `asked_class` is the share of outputs that a small classifier puts into the requested class; "none of them" counts as
    wrong. `asked_class_readable` counts only outputs that it is more than 90 % sure of, `asked_class_worst` is the
    smallest share of a class, and `asked_class_3` the share at f(f(f(z))). `asked_class_of_test` is the share of test
    samples that it puts into their own class: the ceiling. The classifier is that of `class-coverage`."""
    from .asked import AskedClass

    return AskedClass()


def frechet_distance(features: Features = "cnn") -> Any:
    """Fréchet distance of f(z), f(f(z)) and f(f(f(z))) to the training samples, in the features of a named extractor.

    It reports `frechet_cnn_1`, `_2` and `_3`. `frechet_cnn_of_test` is the distance of as many test samples: the floor.
    With Inception's features, and only then, the names are `fid_1`, .... Compare only sets of the same size.

    Args:
        features: space in which samples are compared. `cnn`: the last hidden layer of a small classifier, trained once on
            the training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split is
            reported as well. `hog`: oriented gradients, without training (images). `pca`: the 64 leading principal
            components of the pixels (any data). `inception`:
            torchvision's Inception v3, if its weights are in torch hub's folder; they are never downloaded.
    """
    from .frechet import FrechetDistance

    return FrechetDistance(features)


def precision_recall(features: Features = "cnn") -> Any:
    """Improved precision and recall, density and coverage of f(z), f(f(z)) and f(f(f(z))).

    Precision and density: do the outputs look like data? Recall and coverage: do all the data occur among the outputs?
    Outputs are compared with as many training samples, in the features of a named extractor, by 3 neighbours (precision,
    recall) or 5 (density, coverage). It reports `precision_cnn_1`, ..., and for test samples `precision_cnn_of_test`, ...:
    the ceiling.

    Args:
        features: space in which samples are compared. `cnn`: the last hidden layer of a small classifier, trained once on
            the training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split is
            reported as well. `hog`: oriented gradients, without training (images). `pca`: the 64 leading principal
            components of the pixels (any data). `inception`:
            torchvision's Inception v3, if its weights are in torch hub's folder; they are never downloaded.
    """
    from .manifolds import PrecisionRecall

    return PrecisionRecall(features)


def diversity(features: Features = "cnn") -> Any:
    """How diverse the outputs are: the mean distance of f(z) and f(z'), over the mean distance of two test samples.

    1 is as diverse as data; 0 is a single output for all z. It is measured in pixels (`diversity_pixels`) and in features
    of a named extractor (`diversity_cnn`).

    Args:
        features: space in which samples are compared. `cnn`: the last hidden layer of a small classifier, trained once on
            the training split and kept in ~/.cache/idemlab (data with labels only); its accuracy on the test split is
            reported as well. `hog`: oriented gradients, without training (images). `pca`: the 64 leading principal
            components of the pixels (any data). `inception`:
            torchvision's Inception v3, if its weights are in torch hub's folder; they are never downloaded.
    """
    from .diversity import Diversity

    return Diversity(features)


def drift(depth: Annotated[int, Ge(2)] = 3, points: Annotated[int, Ge(2)] | None = None) -> Any:
    """How far f^k(x) is from f(x), over the spread of f(x): the relative error between f and f^k (`drift_3`).

    Args:
        depth: k, 2 or more.
        points: largest number of samples, the first ones; all by default. A deep orbit costs k forwards a sample.
    """
    from .drift import Drift

    return Drift(depth, points)


def codes_that_stay(cell: Annotated[float, Ge(1e-6)] = 0.25) -> Any:
    """Which share of rounded codes survives decoding and encoding, for operators that encode and decode.

    A code q, a multiple of the cell in each entry, stays if encode(decode(q)) is off by less than half a cell in each
    entry. If all stay, rounding the code makes f idempotent at these inputs. It reports `codes_that_stay`, the share of
    samples, and `code_error`, the largest error of an entry in cells.

    Args:
        cell: distance of the rounded codes in each entry; that of the model, if it rounds.
    """
    from .codes import CodesThatStay

    return CodesThatStay(cell)


def invertibility() -> Any:
    """How well the network inside `linearizer` inverts and is conditioned: rounding grows with its condition number.

    It reports `inverse_error`, |g^-1(g(x)) - x| / |x|, and `condition`, an estimate from below of the largest condition
    number of the Jacobian of g at four samples, by the power method."""
    from .invertibility import Invertibility

    return Invertibility()


def _by_features(features: str) -> tuple[str, ...]:
    """What a metric judges by, for the refusal of sources that learn by it."""
    return (features,)


@hookimpl
def provide_metrics() -> Iterable[MetricSpec]:
    """What can be measured beside the certificate."""
    yield MetricSpec(
        name="reconstruction-error",
        factory=reconstruction_error,
        summary="Mean |f(x) - target| at the data.",
        inputs=("data",),
    )
    yield MetricSpec(
        name="restoration-error",
        factory=restoration_error,
        summary="Mean |f(x) - clean| at corrupted data.",
        inputs=("corrupted",),
    )
    yield MetricSpec(
        name="manifold-distance",
        factory=manifold_distance,
        summary="Distance of f(x) to the known manifold of the data.",
    )
    yield MetricSpec(
        name="projection-distance",
        factory=projection_distance,
        summary="Distance of f(x) to the exact projection of x, where it is known.",
    )
    yield MetricSpec(
        name="psnr",
        factory=psnr,
        summary="Peak signal-to-noise ratio of f(x) against the target, in decibels.",
        inputs=("data", "corrupted"),
    )
    yield MetricSpec(
        name="ssim",
        factory=ssim,
        summary="Structural similarity of f(x) and the target.",
        reference="Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Process. 13 (2004) 600",
        inputs=("data", "corrupted"),
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
        summary="Classes that the outputs cover, and the share that a small classifier can read.",
        inputs=("noise",),
        features=("cnn",),
    )
    yield MetricSpec(
        name="asked-class",
        factory=asked_class,
        summary="Share of generated samples that have the requested class, judged by a small classifier.",
        inputs=("noise",),
        features=("cnn",),
    )
    yield MetricSpec(
        name="frechet-distance",
        factory=frechet_distance,
        summary="Fréchet distance of f(z), f(f(z)) and f(f(f(z))) to the data, in named features.",
        reference="https://arxiv.org/abs/1706.08500",
        inputs=("noise",),
        features=_by_features,
    )
    yield MetricSpec(
        name="precision-recall",
        factory=precision_recall,
        summary="Precision, recall, density and coverage of f(z), f(f(z)) and f(f(f(z))).",
        reference="https://arxiv.org/abs/1904.06991, https://arxiv.org/abs/2002.09797",
        inputs=("noise",),
        features=_by_features,
    )
    yield MetricSpec(
        name="data-copying",
        factory=data_copying,
        summary="Share of outputs f(z) that copy training samples, estimated from nearest neighbours.",
        reference="https://arxiv.org/abs/2004.05675",
        inputs=("noise",),
        features=_by_features,
    )
    yield MetricSpec(
        name="diversity",
        factory=diversity,
        summary="How much outputs differ for different z, compared with how much data differ.",
        inputs=("noise",),
        features=_by_features,
    )
    yield MetricSpec(
        name="drift",
        factory=drift,
        summary="Relative change from f(x) to f^k(x).",
    )
    yield MetricSpec(
        name="codes-that-stay",
        factory=codes_that_stay,
        summary="Share of rounded codes that survive decoding and encoding.",
        calls=("encode", "decode"),
    )
    yield MetricSpec(
        name="invertibility",
        factory=invertibility,
        summary="Error of the inverse inside linearizer, and its condition number.",
        calls=("transform", "inverse"),
    )
