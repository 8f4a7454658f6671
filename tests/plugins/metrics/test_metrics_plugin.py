"""The hook module: light, complete, and every metric reachable by its name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from idemlab import Metric, installed
from idemlab_metrics import plugin

INPUTS = {
    "class-coverage": ("noise",),
    "asked-class": ("noise",),
    "codes-that-stay": (),
    "data-copying": ("noise",),
    "diversity": ("noise",),
    "drift": (),
    "frechet-distance": ("noise",),
    "invertibility": (),
    "manifold-distance": (),
    "nearest-training": ("noise",),
    "precision-recall": ("noise",),
    "projection-distance": (),
    "psnr": ("data", "corrupted"),
    "reconstruction-error": ("data",),
    "restoration-error": ("corrupted",),
    "ssim": ("data", "corrupted"),
}


def test_the_hook_module_imports_nothing_heavy():
    code = "import sys, idemlab_metrics.plugin; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_plugin_offers_each_metric_at_its_inputs():
    assert {spec.name: spec.inputs for spec in plugin.provide_metrics()} == INPUTS


@pytest.mark.parametrize("name", INPUTS)
def test_metrics_are_built_by_name(name):
    catalog = installed()
    assert isinstance(catalog.check("metric", name, "my.toml, [evaluation]").build(), Metric)


@pytest.mark.parametrize("name", ["reconstruction-error", "restoration-error"])
def test_errors_are_named_after_themselves(name):
    import torch

    from idemlab import Batch, Orbit

    catalog = installed()
    metric = catalog.check("metric", name, "my.toml, [evaluation]").build()
    x = torch.zeros(2, 3)
    assert list(metric(Orbit(torch.nn.Identity(), x), Batch(x, x))) == [name.replace("-", "_")]
