"""The factories of the sources. Nothing heavy is imported until something is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

if TYPE_CHECKING:
    from idemlab import Source

Count = Annotated[int, Gt(0)]


def data_source() -> Any:
    """The reconstruction's own inputs: the cheapest source, because both share their forward passes."""
    from .noise import DataSource

    return DataSource()


def gaussian_source(scale: Annotated[float, Gt(0)] = 1.0) -> Any:
    """White noise, N(0, scale^2 I).

    Args:
        scale: standard deviation of each entry.
    """
    from .noise import GaussianSource

    return GaussianSource(scale)


def fourier_source(samples: Annotated[int, Ge(2)] = 1000) -> Any:
    """Noise with the spectrum of the data: an independent Gaussian at each frequency, fitted once.

    Args:
        samples: number of training samples to fit it to.
    """
    from .noise import FourierSource

    return FourierSource(samples)


def corrupted_source(
    noise: Annotated[float, Ge(0)] = 0.7,
    random_strength: bool = False,
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0,
    mask: Annotated[float, Ge(0), Lt(1)] = 0.0,
    blur: Annotated[float, Ge(0)] = 0.0,
) -> Any:
    """Corrupted data: first blurred, then noisy, then masked. The target is the clean sample.

    Args:
        noise: standard deviation of the added Gaussian noise, in the data's own scale.
        random_strength: draw it for each sample, uniform between 0 and `noise`.
        fraction: probability that a sample is corrupted at all.
        mask: share that is masked: of the cells of a 7x7 grid over images, of the entries of vectors. Masked entries get
            the smallest value of the data's range (0 if there is none).
        blur: standard deviation of a Gaussian filter, in pixels; for images only.
    """
    from .corruption import CorruptedSource

    return CorruptedSource(noise, random_strength, fraction, mask, blur)


def augmented_source(transforms: Annotated[list[dict[str, Any]], MinLen(1)], then: Source | None = None) -> Any:
    """Augmented images, each changed by random transforms of torchvision (v2); the target is changed in the same way.

    As the input of the reconstruction, it augments the training data.

    Args:
        transforms: tables with the name of a class of torchvision.transforms.v2 and its arguments, in the order in which
            they are applied: [{ name = "RandomAffine", degrees = 10 }]. They see images in [0, 1], and keep the shape.
        then: source that makes the points of the augmented samples: "corrupted", say.
    """
    from .augmentation import AugmentedSource

    return AugmentedSource(transforms, then)


def imle_source(pool: Count = 256, noise: Source | None = None) -> Any:
    """Noise matched to data: each x of the batch is the target of the z from a pool whose f(z) is nearest.

    In evaluation it is plain noise. Under a condition the pool is divided among the classes, and x gets a z of its class.

    Args:
        pool: number of z's to draw at each step, for any number of processes.
        noise: source of the z's, "gaussian" by default; it must not depend on the data.
    """
    from .matched import ImleSource
    from .noise import GaussianSource

    return ImleSource(pool, noise or GaussianSource(1.0))


def transport_source(
    pool: Count = 1024,
    noise: Source | None = None,
    debiased: bool = False,
    temperatures: Annotated[list[Annotated[float, Ge(0.001)]], MinLen(1)] | None = None,
    cost: Literal["pixels", "code", "pca", "coarse"] = "pixels",
    squared: bool = False,
    passes: Count = 1,
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> Any:
    """Noise coupled with data: a pool of z's and as many training samples x, each z with a target made of the x's.

    One to one, x is the target of z, and the pairs have the smallest total distance between f(z) and x. With `temperatures`
    the coupling is soft (Sinkhorn). The following steps use the pairs up; then a new pool is drawn. In evaluation it is
    plain noise. Under a condition couplings stay inside each class.

    Args:
        pool: number of z's, and of training samples, for any number of processes. Choose a multiple of the global batch:
            the rest is not used. Finding the pairs takes about 0.1 s for 1024 and grows nearly as the cube; soft couplings
            grow as the square.
        noise: source of the z's, "gaussian" by default; it must not depend on the data.
        debiased: remove a bias of finite pools, which pulls f(z) to the middle of the samples around it. The targets are
            then x + f(z) - f(z'), with further noises z' matched to the z's. Costs one more value of f for each pair.
        temperatures: of soft couplings, as shares of the mean distance: [0.05], say, or several, whose couplings are
            averaged. They need `debiased`. Without any, the coupling is one to one, the limit of temperature zero.
        cost: where distances are measured. `pixels`: the samples' own space. `code`: what the operator's `encode` gives.
            `pca`: the 64 leading principal components. `coarse`: means over blocks of 4 x 4 pixels. Features that a metric
            of the experiment judges by are refused.
        squared: take half the squared distance as cost, for which the targets of soft couplings follow the gradient of the
            Sinkhorn divergence.
        passes: how often the pairs of a pool are used before a new one is drawn.
        ema: decay of a moving average of the operator's weights, 0.99 say, whose f(z) is coupled; 0 uses f itself.
    """
    from .matched import TransportSource
    from .noise import GaussianSource

    return TransportSource(
        pool,
        noise or GaussianSource(1.0),
        debiased,
        temperatures=temperatures or (),
        cost=cost,
        squared=squared,
        passes=passes,
        ema=ema,
    )


def transport_features(cost: str, **others: Any) -> tuple[str, ...]:
    """The features that `transport` learns by: pixels and the operator's own code are none."""
    return () if cost in ("pixels", "code") else (cost,)
