"""The hook module: light, complete, and every factory reachable by its name."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch

from idemlab import BadInput, Dataset, Source, installed
from idemlab_data import plugin
from idemlab_data.augmentation import AugmentedSource
from idemlab_data.corruption import CorruptedSource
from idemlab_data.matched import ImleSource, TransportSource
from idemlab_data.noise import DataSource, FourierSource, GaussianSource

DATASETS = [
    "ball",
    "celeba",
    "digits",
    "faces",
    "fashion-mnist",
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
SOURCES = {
    "augmented": AugmentedSource,
    "corrupted": CorruptedSource,
    "data": DataSource,
    "fourier": FourierSource,
    "gaussian": GaussianSource,
    "imle": ImleSource,
    "transport": TransportSource,
}


def build(kind: str, **table: object):
    catalog = installed()
    return catalog.check(kind, table, f"my.toml, [{kind}]").build()


def test_the_hook_module_imports_nothing_heavy():
    heavy = ["torch", "torchvision", "numpy", "datasets", "PIL"]
    code = f"import sys, idemlab_data.plugin; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_plugin_offers_what_it_should():
    assert sorted(spec.name for spec in plugin.provide_datasets()) == DATASETS
    assert sorted(spec.name for spec in plugin.provide_sources()) == sorted(SOURCES)


@pytest.mark.parametrize("spec", [*plugin.provide_datasets(), *plugin.provide_sources()], ids=lambda spec: spec.name)
def test_every_argument_is_explained(spec):
    help_text = inspect.getdoc(spec.factory)
    for name in spec.factory.__code__.co_varnames[: spec.factory.__code__.co_argcount]:
        assert f"\n    {name}: " in help_text, name


@pytest.mark.parametrize("name", ["gaussian", "torus", "gratings", "sphere", "ball", "sequences"])
def test_synthetic_sets_are_built_with_their_defaults(name):
    data = build("dataset", name=name)
    assert isinstance(data, Dataset)
    assert data.shape == ((1, 16, 16) if name == "gratings" else (16,))
    batch = data.test.__getitems__([0, 1]).to("cpu", torch.float64, data.range)
    assert batch.input.shape == batch.target.shape == (2, *data.shape)


@pytest.mark.parametrize(("name", "kind"), SOURCES.items())
def test_sources_are_built_with_their_defaults(name, kind):
    needed = {"transforms": [{"name": "RandomInvert"}]} if name == "augmented" else {}
    source = build("source", name=name, **needed)
    assert isinstance(source, Source)
    assert type(source) is kind


def test_arguments_reach_the_sources():
    corrupted = build("source", name="corrupted", noise=0.9, random_strength=True, fraction=0.7, mask=0.1, blur=0.5)
    assert (corrupted.noise, corrupted.random_strength, corrupted.fraction, corrupted.mask, corrupted.blur) == (
        0.9,
        True,
        0.7,
        0.1,
        0.5,
    )
    imle = build("source", name="imle", pool=64, noise={"name": "fourier", "samples": 10})
    assert (imle.pool, imle.noise.samples) == (64, 10)
    assert build("source", name="gaussian", scale=0.5).scale == 0.5


def test_a_shape_is_a_list_in_the_experiment():
    assert build("dataset", name="gaussian", shape=[1, 4, 4], train=3, test=2).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("kind", "table", "key"),
    [
        ("dataset", {"name": "gaussian", "shape": []}, "shape"),
        ("dataset", {"name": "gaussian", "shape": [0]}, "shape"),
        ("dataset", {"name": "gaussian", "shape": 16}, "shape"),
        ("dataset", {"name": "gaussian", "train": 0}, "train"),
        ("dataset", {"name": "gaussian", "seed": -1}, "seed"),
        ("dataset", {"name": "torus", "circles": 1.5}, "circles"),
        ("dataset", {"name": "sequences", "length": 1}, "length"),
        ("dataset", {"name": "faces", "size": 4}, "size"),
        ("dataset", {"name": "mnist", "rot": "x"}, "rot"),
        ("dataset", {"name": "celeba", "root": 3}, "root"),
        ("dataset", {"name": "hub"}, "path"),
        ("dataset", {"name": "hub", "path": "x", "channels": 2}, "channels"),
        ("dataset", {"name": "torchvision"}, "dataset"),
        ("dataset", {"name": "torchvision", "dataset": "MNIST", "download": "yes"}, "download"),
        ("source", {"name": "corrupted", "fraction": 0.0}, "fraction"),
        ("source", {"name": "corrupted", "mask": 1.0}, "mask"),
        ("source", {"name": "corrupted", "noise": -0.1}, "noise"),
        ("source", {"name": "imle", "pool": 0}, "pool"),
        ("source", {"name": "imle", "noise": {"name": "gausian"}}, "gausian"),
        ("source", {"name": "gaussian", "scale": 0}, "scale"),
        ("source", {"name": "fourier", "samples": 1}, "samples"),
    ],
    ids=str,
)
def test_wrong_arguments_are_bad_input_that_names_the_key(kind, table, key):
    with pytest.raises(BadInput) as caught:
        build(kind, **table)
    assert caught.value.exit_code == 2
    assert f"'{key}'" in f"{caught.value.what} {caught.value.where}"


@pytest.mark.parametrize(
    "table",
    [
        {"name": "torus", "circles": 9},
        {"name": "gratings", "gratings": 13, "size": 8},
        {"name": "sphere", "dimension": 16},
        {"name": "ball", "dimension": 17},
        {"name": "gaussian", "train": 8, "whiten": True},
    ],
    ids=["torus", "gratings", "sphere", "ball", "gaussian"],
)
def test_arguments_that_do_not_fit_together_are_bad_input(table):
    with pytest.raises(BadInput, match=r"are needed|dimensions"):
        build("dataset", **table)


def test_files_are_reached_through_the_catalog(tmp_path):
    for name, argument in [
        ("mnist", "root"),
        ("fashion-mnist", "root"),
        ("celeba", "root"),
        ("hub", "path"),
        ("npz", "path"),
        ("table", "path"),
    ]:
        with pytest.raises(BadInput, match=str(tmp_path)):
            build("dataset", name=name, **{argument: str(tmp_path / "absent")})
    with pytest.raises(BadInput, match="no data set 'Nothing'"):
        build("dataset", name="torchvision", dataset="Nothing")
