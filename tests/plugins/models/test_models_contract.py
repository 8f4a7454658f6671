"""What every model must do, over a table of models, shapes and arguments; built by name, as an experiment does."""

from __future__ import annotations

import inspect
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import idemlab
from idemlab.catalog.catalog import schema
from idemlab.contracts.orbit import Orbit

# torch loads its forward-mode derivatives with its own, deprecated, torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("linear", (6,), {}),
    ("linear", (2, 3), {"bias": True, "init": "identity"}),
    ("linear", (1,), {}),
    ("linear", (6,), {"init": "spectrum", "condition": 10.0}),
    ("mlp", (6,), {"width": 16, "depth": 1}),
    ("mlp", (1, 4, 4), {"width": 16, "depth": 3, "activation": "gelu", "residual": True, "norm": "layer"}),
    ("mlp", (5,), {"width": 8, "depth": 2, "activation": "tanh", "bias": False}),
    ("mlp", (5,), {"width": 8, "depth": 2, "activation": "silu"}),
    ("mlp", (5,), {"width": 8, "depth": 2, "activation": "elu"}),
    ("autoencoder", (1, 28, 28), {"channels": 4, "latent": 8}),
    ("autoencoder", (3, 16, 16), {"channels": 4, "latent": 8, "init": "dcgan", "output": "none"}),
    ("autoencoder", (1, 4, 4), {"channels": 4, "latent": 8, "activation": "silu"}),
    ("autoencoder", (2, 12, 8), {"channels": 3, "latent": 5, "norm": "none", "activation": "leaky-relu"}),
    ("autoencoder", (1, 8, 8), {"channels": 4, "latent": 8, "depth": 3}),
    ("autoencoder", (1, 8, 8), {"channels": 4, "latent": 8, "blocks": 2}),
    ("patches", (1, 8, 8), {"channels": 4, "latent": 8}),
    ("patches", (3, 4, 6), {"channels": 6, "latent": 5, "patch": 2, "overlap": 0, "blocks": 0, "output": "none"}),
    ("patches", (2, 9, 6), {"channels": 2, "latent": 3, "patch": 3, "overlap": 4, "blocks": 1, "activation": "gelu"}),
    ("biorthogonal", (7,), {"latent": 3}),
    ("biorthogonal", (1, 4, 4), {"latent": 2, "widths": [5, 8], "activation": "leaky", "slope": 0.5}),
    ("coupling", (7,), {"width": 8}),
    ("coupling", (2,), {"width": 8, "mixing": 1, "layers": 0, "affine": False}),
    ("coupling", (2, 4, 8), {"scales": 2, "channels": 4, "width": 8, "leading": 3, "activation": "tanh"}),
    ("coupling", (1, 4, 4), {"scales": 1, "channels": 4, "mixing": 0, "layers": 1, "width": 8, "start": "none"}),
    ("conv", (1, 5, 4), {"channels": 4}),
    ("conv", (3, 4, 4), {"channels": 6, "depth": 3, "activation": "tanh", "residual": True, "norm": "group"}),
    ("unet", (1, 8, 8), {"channels": 4}),
    ("unet", (3, 4, 8), {"channels": 6, "residual": True}),
    ("unet", (1, 10, 6), {"channels": 4, "depth": 1}),
    ("attention", (7,), {"width": 8, "heads": 2}),
    ("attention", (7,), {"width": 8, "heads": 2, "position": False}),
    ("attention", (5, 3), {"width": 8, "heads": 4, "depth": 1}),
    ("attention", (2, 8, 12), {"width": 8, "heads": 2}),
    ("attention", (1, 6, 4), {"width": 8, "heads": 1, "patch": 2, "position": False}),
]
BATCH_NORM = ("autoencoder", (1, 8, 8), {"channels": 4, "latent": 8, "norm": "batch"})
every_model = pytest.mark.parametrize("case", [*CASES, BATCH_NORM], ids=str)
per_sample_models = pytest.mark.parametrize("case", CASES, ids=str)
distinct_models = pytest.mark.parametrize(
    "case", [case for case in CASES if case[2].get("activation") not in ("silu", "elu")], ids=str
)
"""For slow tests: leaves out cases that differ from another only in the activation."""
one_of_each = pytest.mark.parametrize("case", [*{case[0]: case for case in CASES}.values(), BATCH_NORM], ids=str)
"""For what depends on how a module holds its parameters, and not on shapes or activations."""


def build(name: str, shape: tuple[int, ...], arguments: dict[str, Any], seed: int = 0) -> nn.Module:
    catalog = idemlab.installed()
    named = catalog.check("model", {"name": name} | arguments, "test, [model]")
    torch.manual_seed(seed)
    operator = named.build(shape)
    assert isinstance(operator, nn.Module)
    return operator


def points(shape: tuple[int, ...], count: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_model
def test_keeps_shape_and_dtype(case: Any) -> None:
    for dtype, count, training in product((torch.float32, torch.float64), (1, 3), (True, False)):
        f = build(*case).to(dtype)
        x = points(case[1], count).to(dtype)
        before = x.clone()
        y = f.train(training)(x)
        assert (y.shape, y.dtype) == (x.shape, dtype)
        assert y.isfinite().all()
        assert torch.equal(x, before), "the input was changed"


@per_sample_models
def test_a_sample_alone_gives_what_it_gives_in_a_batch(case: Any) -> None:
    f = build(*case).double()
    x = points(case[1])
    alone = torch.cat([f(sample[None]) for sample in x])
    torch.testing.assert_close(f(x), alone, rtol=1e-10, atol=1e-12)


def test_batch_norm_couples_samples_in_training_only() -> None:
    f = build(*BATCH_NORM).double()
    x = points(BATCH_NORM[1])
    assert (f(x)[:1] - f(x[:1])).abs().max() > 1e-3
    f.eval()
    torch.testing.assert_close(f(x)[:1], f(x[:1]), rtol=1e-10, atol=1e-12)


@every_model
def test_gradient_reaches_each_parameter(case: Any) -> None:
    f = build(*case).double()
    x = points(case[1])
    (f(x) * points(case[1], seed=2)).sum().backward()
    for name, parameter in f.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-9, name


@one_of_each
def test_same_seed_same_weights(case: Any) -> None:
    first, again, other = build(*case), build(*case), build(*case, seed=5)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@one_of_each
def test_nothing_but_the_optimiser_changes_the_state(case: Any) -> None:
    f = build(*case).train(case is not BATCH_NORM)
    before = {name: value.clone() for name, value in f.state_dict().items()}
    f(f(points(case[1]).float()))
    for name, value in f.state_dict().items():
        assert torch.equal(value, before[name]), name


@every_model
def test_forward_mode_is_the_transpose_of_reverse_mode(case: Any) -> None:
    """u . (J v) = (J^T u) . v, with and without gradient to the parameters, where fused kernels could take a fast path."""
    f = build(*case).double().eval()
    x, u, v = (points(case[1], seed=seed) for seed in (1, 2, 3))
    x.requires_grad_()
    (pulled,) = torch.autograd.grad((f(x) * u).sum(), x)
    for gradient in (True, False):
        with torch.set_grad_enabled(gradient):
            _, pushed = torch.func.jvp(f, (x.detach(),), (v,))
        torch.testing.assert_close((pushed * u).sum(), (pulled * v).sum(), rtol=1e-9, atol=1e-12)


@distinct_models
def test_jacobian_products_carry_gradients_to_the_parameters(case: Any) -> None:
    """Both ways, as enforcers use them in training mode: through a JVP, and by double backward."""
    f = build(*case).double()
    v = points(case[1], seed=3)
    Orbit(f, points(case[1])).jvp(v).square().sum().backward()
    forward = {name: p.grad for name, p in f.named_parameters() if p.grad is not None}
    f.zero_grad()
    x = points(case[1]).requires_grad_()
    (pulled,) = torch.autograd.grad((f(x) * v).sum(), x, create_graph=True)
    pulled.square().sum().backward()
    backward = {name: p.grad for name, p in f.named_parameters() if p.grad is not None}
    for gradients in (forward, backward):
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-9


@distinct_models
def test_replicas_can_be_stacked(case: Any) -> None:
    """vmap over stacked parameters gives what the models give one by one."""
    models = [build(*case, seed=seed).double() for seed in (0, 1)]
    state, buffers = torch.func.stack_module_state(models)

    def one(parameters: dict[str, Tensor], others: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(models[0], (parameters, others), (x,))
        return y

    x = torch.stack([points(case[1], seed=seed) for seed in (2, 3)])
    together = torch.func.vmap(one)(state, buffers, x)
    torch.testing.assert_close(together, torch.stack([f(each) for f, each in zip(models, x, strict=True)]))


@one_of_each
def test_weights_go_through_safetensors(case: Any, tmp_path: Path) -> None:
    f, other = build(*case).eval(), build(*case, seed=5).eval()
    save_file(f.state_dict(), tmp_path / "f.safetensors")
    other.load_state_dict(load_file(tmp_path / "f.safetensors"))
    x = points(case[1]).float()
    assert torch.equal(f(x), other(x))


@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [
        ("mlp", (6,), {"width": 32, "depth": 2}),
        ("conv", (1, 8, 8), {"channels": 8}),
        ("unet", (1, 8, 8), {"channels": 8}),
    ],
)
def test_residual_models_start_near_the_identity_but_not_on_it(
    name: str, shape: tuple[int, ...], arguments: dict[str, Any]
) -> None:
    x = points(shape, 20)
    for residual, low, high in ((True, 1e-6, 0.02), (False, 0.5, 2.0)):
        f = build(name, shape, arguments | {"residual": residual}).double()
        assert low < ((f(x) - x).norm() / x.norm()).item() < high


def test_listing() -> None:
    models = {entry.spec.name: entry.spec for entry in idemlab.installed().entries("model")}
    assert {"linear", "mlp", "autoencoder", "patches", "conv", "unet", "attention"} <= set(models)
    assert idemlab.installed().find("model", "transformer").spec is models["attention"]
    assert idemlab.installed().find("model", "dcgan").spec is models["autoencoder"]


def test_help_explains_each_argument() -> None:
    missing = [
        f"{entry.spec.name}: {parameter.name}"
        for entry in idemlab.installed().entries("model")
        for parameter in schema.parameters(entry.spec.factory, skip=entry.spec.passed)
        if f"\n    {parameter.name}: " not in (inspect.getdoc(entry.spec.factory) or "")
    ]
    assert not missing


def test_the_hook_module_needs_no_torch() -> None:
    code = "import sys, idemlab_models.plugin as p; list(p.provide_models()); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
