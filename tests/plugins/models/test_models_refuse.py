"""What models refuse, and that the message names what would work."""

from __future__ import annotations

from typing import Any

import pytest

import idemlab


def refusal(name: str, shape: tuple[int, ...], arguments: dict[str, Any]) -> idemlab.BadInput:
    catalog = idemlab.installed()
    with pytest.raises(idemlab.BadInput) as caught:
        catalog.check("model", {"name": name} | arguments, "my.toml, [model]").build(shape)
    return caught.value


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "words"),
    [
        ("linear", (), {}, ["shape ()", "(16,)"]),
        ("mlp", (3, 0), {}, ["shape (3, 0)", "size 1 or more"]),
        ("autoencoder", (16,), {}, ["images", "shape (16,)", "multiples of 4", "model 'mlp'"]),
        ("autoencoder", (1, 30, 30), {}, ["30x30", "multiples of 4", "32x32", "'depth'"]),
        ("autoencoder", (1, 28, 36), {"depth": 3}, ["28x36", "multiples of 8", "depth = 3", "32x40"]),
        ("autoencoder", (1, 28, 0), {}, ["shape (1, 28, 0)"]),
        ("patches", (1, 28, 30), {}, ["28x30", "multiples of 4", "patch = 4", "28x32"]),
        ("patches", (16,), {}, ["images", "shape (16,)"]),
        ("coupling", (1,), {}, ["cannot split", "shape (1,)", "two entries"]),
        ("coupling", (4,), {"leading": 4}, ["leading = 4", "4 entries", "from 1 to 3", "set leading = 2"]),
        ("coupling", (1, 28, 30), {"scales": 2}, ["28x30", "multiples of 4", "scales = 2", "28x32"]),
        ("coupling", (16,), {"scales": 1}, ["images", "shape (16,)"]),
        ("biorthogonal", (4,), {"latent": 5}, ["4 entries", "5 to 4", "set latent = 3"]),
        ("biorthogonal", (9,), {"latent": 2, "widths": [5, 3]}, ["2 to 5 to 3 to 9", "widths that rise"]),
        ("unet", (1, 28, 30), {}, ["28x30", "multiples of 4", "depth = 2", "28x32"]),
        ("conv", (4, 4), {}, ["images", "shape (4, 4)", "model 'mlp'"]),
        ("unet", (4, 4), {}, ["images", "shape (4, 4)"]),
        ("attention", (1, 28, 30), {}, ["28x30", "multiples of 4", "patch = 4", "28x32"]),
        ("attention", (1, 9, 8), {"patch": 3}, ["9x8", "multiples of 3", "9x9"]),
        ("attention", (8,), {"patch": 2}, ["'patch' has no effect", "shape (8,)", "leave 'patch' out"]),
        ("attention", (8,), {"width": 10, "heads": 4}, ["width = 10", "4 heads", "set width = 12"]),
        ("attention", (1, 2, 3, 4), {}, ["shape (1, 2, 3, 4)", "(n, d)", "model 'mlp'"]),
        ("linear", (4,), {"init": "spectrum", "rank": 5}, ["rank = 5", "n = 4", "from 0 to 4"]),
        ("linear", (4,), {"scale": 0.1}, ["'scale' has no effect", 'init = "default"', 'set init = "identity"']),
        ("linear", (4,), {"init": "identity", "rank": 2}, ["'rank' has no effect", 'set init = "spectrum"']),
    ],
    ids=str,
)
def test_message(name: str, shape: tuple[int, ...], arguments: dict[str, Any], words: list[str]) -> None:
    error = refusal(name, shape, arguments)
    text = str(error)
    for word in [f"model '{name}'", *words]:
        assert word in text
    assert error.next_step
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("linear", {"init": "spectrum", "condition": 0.5}, "condition"),
        ("linear", {"init": "spectrum", "margin": 0.44}, "margin"),
        ("linear", {"init": "spectrum", "margin": 0.0}, "margin"),
        ("linear", {"init": "spectral"}, "init"),
        ("mlp", {"depth": 0}, "depth"),
        ("mlp", {"activation": "gelo"}, "activation"),
        ("autoencoder", {"activation": "rellu"}, "activation"),
        ("autoencoder", {"norm": "layer"}, "norm"),
        ("biorthogonal", {"slope": 1.0}, "slope"),
        ("biorthogonal", {"cell": 0.0}, "cell"),
        ("conv", {"norm": "batch"}, "norm"),
        ("coupling", {"bound": 0.0}, "bound"),
        ("coupling", {"scales": -1}, "scales"),
        ("unet", {"depth": 0}, "depth"),
        ("attention", {"heads": 0}, "heads"),
    ],
)
def test_arguments_out_of_range(name: str, arguments: dict[str, Any], key: str) -> None:
    assert refusal(name, (1, 8, 8), arguments).where == f"my.toml, [model], key '{key}'"
