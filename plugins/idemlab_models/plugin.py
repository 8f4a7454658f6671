"""The models that idemlab ships. Nothing here imports torch: each factory imports its implementation when it is called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from idemlab import BadInput, ModelSpec, hookimpl

from .choices import Activation

__all__ = ["provide_models"]


def linear(
    shape: tuple[int, ...],
    bias: bool = False,
    init: Literal["default", "identity", "spectrum"] = "default",
    scale: Annotated[float, Ge(0)] | None = None,
    condition: Annotated[float, Ge(1)] | None = None,
    margin: Annotated[float, Gt(0), Lt(0.433)] | None = None,
    rank: Annotated[int, Ge(0)] | None = None,
) -> Any:
    """One linear map K of the flattened sample, for samples of any shape. The theory of the cubic iteration is exact here.

    Args:
        bias: whether a vector is added; it starts at 0 unless `init` is "default".
        init: where K starts. "default" is torch's own choice for a linear layer. "identity" is I + scale G / sqrt(n)
            with G standard normal. "spectrum" is S diag(λ) S^-1 with real eigenvalues λ in the basin of the cubic
            iteration. The limit is then known: the projector onto the eigenvectors in the basin of 1.
        scale: with init "identity" only: distance from the identity, about its spectral radius; 0.01 by default.
        condition: with init "spectrum" only: cond(S), reached exactly; the default 1 makes K symmetric.
        margin: with init "spectrum" only: distance of the eigenvalues from 1/2 and from the ends of the basin,
            (1 - sqrt 3)/2 and (1 + sqrt 3)/2; 0.05 by default.
        rank: with init "spectrum" only: number of eigenvalues in the basin of 1, from 0 to n; half of n by default.
    """
    from .linear import Linear, near_identity
    from .spectrum import in_basin

    owners = {"scale": "identity", "condition": "spectrum", "margin": "spectrum", "rank": "spectrum"}
    values: dict[str, Any] = {"scale": scale, "condition": condition, "margin": margin, "rank": rank}
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if owners[name] != init:
            raise BadInput(
                f"model 'linear': '{name}' has no effect with init = \"{init}\"",
                expected=f"'{name}' only with init = \"{owners[name]}\"",
                next_step=f"leave '{name}' out, or set init = \"{owners[name]}\"",
            )
    operator = Linear(shape, bias=bias)
    if init == "identity":
        operator.start_at(near_identity(operator.n, **given))
    elif init == "spectrum":
        operator.start_at(in_basin(operator.n, **given))
    return operator


def mlp(
    shape: tuple[int, ...],
    classes: int | None = None,
    width: Annotated[int, Gt(0)] = 128,
    depth: Annotated[int, Gt(0), Le(1000)] = 4,
    activation: Activation = "relu",
    residual: bool = False,
    norm: Literal["none", "layer"] = "none",
    bias: bool = True,
) -> Any:
    """A multilayer perceptron on the flattened sample, for samples of any shape. It takes a condition, f(x, c).

    Args:
        width: units in each hidden layer.
        depth: number of hidden layers.
        activation: after each hidden layer.
        residual: f(x) = x + g(x) with a last layer of g that starts near 0, so that f starts near the identity.
        norm: before each activation: "layer" normalises each sample by itself, "none" leaves it out.
        bias: whether the linear layers add a vector.
    """
    from .mlp import MLP

    return MLP(shape, classes, width=width, depth=depth, activation=activation, residual=residual, norm=norm, bias=bias)


def autoencoder(
    shape: tuple[int, ...],
    classes: int | None = None,
    channels: Annotated[int, Gt(0)] = 32,
    latent: Annotated[int, Gt(0)] = 96,
    depth: Annotated[int, Gt(0), Le(30)] | None = None,
    blocks: Annotated[int, Ge(0), Le(1000)] = 0,
    activation: Literal["dcgan", Activation] = "dcgan",
    norm: Literal["group", "batch", "none"] = "group",
    output: Literal["tanh", "none"] = "tanh",
    init: Literal["default", "dcgan"] = "default",
) -> Any:
    """f(x) = G(D(x)) in the style of DCGAN: the discriminator D encodes, the generator G decodes.

    It works on images (C, H, W) whose sides are multiples of 4, for instance 28x28, 32x32, 64x64 or 112x92. With a given
    `depth`, the sides must be multiples of 2^depth. `encode(x)` gives the codes h [B, latent], `decode(h)` the images. It
    takes a condition: f(x, c), `encode(x, c)`, `decode(h, c)`.

    Args:
        channels: of the largest feature maps; they double whenever the sides are halved.
        latent: size of the code, and so the largest rank that f can have.
        depth: number of times that the sides are halved. The default leaves the shorter side at 4 to 7, and stops before
            a side becomes odd: 2 for 28x28, 3 for 32x32, 4 for 64x64.
        blocks: residual blocks on each side of the code, h + W2 act(W1 norm h) with 4 latent hidden units; DCGAN has none.
            If convolutions take most of the time, blocks are the cheapest way to make D and G more expressive.
        activation: "dcgan" is leaky ReLU (slope 0.2) in the encoder and ReLU in the decoder; others are the same in both.
        norm: "group" normalises each sample by itself. "batch" makes samples depend on each other, and training differ from
            evaluation; DCGAN and IGN were published with it. "none" leaves normalisation out.
        output: "tanh" keeps outputs in (-1, 1), "none" leaves them linear.
        init: "default" is torch's own choice; "dcgan" draws normal weights with standard deviation 0.02.
    """
    from .autoencoder import Autoencoder

    return Autoencoder(
        shape,
        classes,
        channels=channels,
        latent=latent,
        depth=depth,
        blocks=blocks,
        activation=activation,
        norm=norm,
        output=output,
        init=init,
    )


def patches(
    shape: tuple[int, ...],
    classes: int | None = None,
    channels: Annotated[int, Gt(0)] = 32,
    latent: Annotated[int, Gt(0)] = 128,
    patch: Annotated[int, Gt(0)] = 4,
    overlap: Annotated[int, Ge(0), Le(1000)] = 1,
    blocks: Annotated[int, Ge(0), Le(1000)] = 2,
    activation: Activation = "silu",
    output: Literal["tanh", "none"] = "tanh",
) -> Any:
    """f(x) = decode(encode(x)) with linear maps of overlapping patches in place of convolutions.

    All its work is large matrix products, so on a CPU a step takes about half the time of `autoencoder` with as many
    channels. It works on images (C, H, W) whose sides are multiples of `patch`. `encode(x)` gives the codes h
    [B, latent], `decode(h)` the images. It takes a condition: f(x, c), `encode(x, c)`, `decode(h, c)`.

    Args:
        channels: numbers that describe a patch.
        latent: size of the code, and so the largest rank that f can have.
        patch: distance of the patches, in pixels.
        overlap: pixels by which a patch reaches into each of its neighbours. Outputs are added where patches overlap,
            which hides the seams; 0 leaves them visible.
        blocks: residual blocks on each side of the code, h + W2 act(W1 norm h) with 4 latent hidden units.
        activation: in all places.
        output: "tanh" keeps outputs in (-1, 1), "none" leaves them linear.
    """
    from .patches import Patches

    return Patches(
        shape,
        classes,
        channels=channels,
        latent=latent,
        patch=patch,
        overlap=overlap,
        blocks=blocks,
        activation=activation,
        output=output,
    )


def conv(
    shape: tuple[int, ...],
    channels: Annotated[int, Gt(0)] = 8,
    depth: Annotated[int, Gt(0), Le(1000)] = 2,
    activation: Activation = "relu",
    residual: bool = False,
    norm: Literal["none", "group"] = "none",
) -> Any:
    """A plain stack of 3x3 convolutions, without bottleneck or skip connections, on images (C, H, W) of any size.

    Args:
        channels: maps in each hidden layer.
        depth: number of hidden layers.
        activation: after each hidden layer.
        residual: f(x) = x + g(x) with a last layer of g that starts near 0, so that f starts near the identity.
        norm: before each activation: "group" normalises each sample by itself, "none" leaves it out.
    """
    from .conv import Conv

    return Conv(shape, channels=channels, depth=depth, activation=activation, residual=residual, norm=norm)


def unet(
    shape: tuple[int, ...],
    classes: int | None = None,
    channels: Annotated[int, Gt(0)] = 32,
    depth: Annotated[int, Gt(0), Le(30)] = 2,
    residual: bool = False,
) -> Any:
    """A small U-Net with GroupNorm. It has no bottleneck, so detail passes, and only the enforcer limits the rank.

    It works on images (C, H, W) whose sides are multiples of 2^depth, and takes a condition, f(x, c).

    Args:
        channels: of the largest feature maps; they double whenever the sides are halved.
        depth: number of halvings.
        residual: f(x) = x + g(x) with a last layer of g that starts near 0, so that f starts near the identity.
    """
    from .unet import UNet

    return UNet(shape, classes, channels=channels, depth=depth, residual=residual)


def attention(
    shape: tuple[int, ...],
    classes: int | None = None,
    width: Annotated[int, Gt(0)] = 64,
    depth: Annotated[int, Gt(0), Le(1000)] = 2,
    heads: Annotated[int, Gt(0)] = 4,
    patch: Annotated[int, Gt(0)] | None = None,
    position: bool = True,
) -> Any:
    """A small pre-norm transformer encoder on the tokens of a sample. It takes a condition, f(x, c).

    A sample (n,) is n numbers, (n, d) is n tokens of d numbers, and (C, H, W) is an image that is cut into patches.

    Args:
        width: of a token inside the network; a multiple of `heads`.
        depth: number of blocks.
        heads: of the attention in each block.
        patch: side of a patch in pixels, which divides both sides of the image; images only, 4 by default.
        position: whether a learned embedding tells tokens their place; false makes f permutation-equivariant, for sets.
    """
    from .attention import Attention

    return Attention(shape, classes, width=width, depth=depth, heads=heads, patch=patch, position=position)


def coupling(
    shape: tuple[int, ...],
    scales: Annotated[int, Ge(0), Le(30)] = 0,
    convolutions: Annotated[int, Gt(0), Le(1000)] = 2,
    channels: Annotated[int, Gt(0)] = 32,
    mixing: Annotated[int, Ge(0), Le(1000)] = 4,
    layers: Annotated[int, Ge(0), Le(1000)] = 2,
    leading: Annotated[int, Gt(0)] | None = None,
    width: Annotated[int, Gt(0)] = 256,
    depth: Annotated[int, Gt(0), Le(1000)] = 2,
    affine: bool = True,
    bound: Annotated[float, Gt(0), Le(10)] = 1.0,
    activation: Activation = "silu",
    start: Literal["pca", "none"] = "pca",
) -> Any:
    """An invertible network g of couplings, for the enforcer `linearizer`. Without the enforcer it has full rank and
    projects nothing.

    A coupling moves one part of the coordinates by a function of the other part, which can be undone exactly. In this
    order: convolutional couplings at each scale, dense couplings of a chessboard's black and white entries, a rotation to
    the principal components of the data, dense couplings between the leading coordinates and the others. The networks
    inside start small, so with `linearizer` f starts as the projection onto the leading components.

    It works on samples of two entries or more, all computed in float32 at least: in bfloat16 couplings do not invert.
    Rounding errors grow with the condition number of g, which the metric `invertibility` estimates. With affine
    couplings that number grows, at some inputs, in proportion to the input: where a scale changes, it changes by as much
    far outside the data as near them, and multiplies larger numbers. Shifts alone invert inputs of any size equally well.

    Args:
        scales: number of times that 2x2 pixels become channels, each followed by convolutional couplings; images only,
            with sides that are multiples of 2^scales.
        convolutions: convolutional couplings at each scale.
        channels: in the networks inside convolutional couplings.
        mixing: dense couplings before the rotation.
        layers: dense couplings after the rotation.
        leading: coordinates that the rotation chooses, and that form one part of the couplings after it. The default is
            half of the entries, at most 128. With `linearizer`, set it to the rank.
        width: of the hidden layers inside dense couplings.
        depth: number of hidden layers inside each coupling.
        affine: whether a coupling scales, too; false for shifts alone, which keep volumes.
        bound: largest |log| of a scale; a smaller one lowers the condition number.
        activation: inside the couplings.
        start: "pca" turns to the principal components of the first 4096 training samples, "none" leaves the rotation out.
    """
    from .coupling import Coupling

    return Coupling(
        shape,
        scales=scales,
        convolutions=convolutions,
        channels=channels,
        mixing=mixing,
        layers=layers,
        leading=leading,
        width=width,
        depth=depth,
        affine=affine,
        bound=bound,
        activation=activation,
        start=start,
    )


def biorthogonal(
    shape: tuple[int, ...],
    latent: Annotated[int, Gt(0)] | None = None,
    widths: list[Annotated[int, Gt(0)]] | None = None,
    slope: Annotated[float, Gt(0), Lt(1)] = 0.3,
    activation: Literal["smooth", "leaky"] = "smooth",
    cell: Annotated[float, Ge(1e-6)] | None = None,
    start: Literal["pca", "none"] = "pca",
) -> Any:
    """An autoencoder with encode(decode(h)) = h by construction, for samples of any shape, so f is idempotent to rounding.

    Each encoding layer is an exact left inverse of a decoding layer: h -> act(P h + b) and x -> (X P)^-1 X (act^-1(x) - b),
    with an activation that has an inverse. The rank of f is the width of the code, everywhere. All is computed in float32 at
    least. If X P of a layer becomes singular, the run stops and says so.

    Rounding the code is an argument, not a separate model, because the layers are the same. Only in this model do codes
    survive decoding and encoding by construction. The metric `codes-that-stay` measures it on any autoencoder.

    Args:
        latent: width of the code, the rank of f; half of the entries by default, at most 64.
        widths: of the layers between the code and the sample, from the code on; they must rise. The default is
            two widths at equal ratios.
        slope: of the activation at minus infinity; at plus infinity it is 1/slope. Nearer to 1 is more linear, and better
            conditioned.
        activation: "smooth", a hyperbola, or "leaky", with a kink.
        cell: distance between rounded codes in each entry. f is then discrete and does not drift, with the
            gradient of f without rounding. Left out, codes are not rounded.
        start: "pca" starts f at the projection onto the leading principal components of the first 4096 training samples,
            "none" at random layers.
    """
    from .biorthogonal import Biorthogonal

    return Biorthogonal(shape, latent=latent, widths=widths, slope=slope, activation=activation, cell=cell, start=start)


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    cubic = "Jensen & Vicary, ICML 2025, PMLR 267:27070-27090"
    yield ModelSpec(name="linear", factory=linear, summary="One linear map of the flattened sample.", reference=cubic)
    yield ModelSpec(
        name="mlp",
        factory=mlp,
        summary="A multilayer perceptron on the flattened sample.",
        reference=cubic,
        conditional=True,
    )
    yield ModelSpec(
        name="autoencoder",
        factory=autoencoder,
        summary="DCGAN's discriminator as encoder, its generator as decoder: f(x) = G(D(x)).",
        reference="Shocher et al., ICLR 2024, arXiv 2311.01462; Radford et al., ICLR 2016, arXiv 1511.06434",
        aliases=("dcgan",),
        conditional=True,
        offers=("encode", "decode"),
    )
    yield ModelSpec(
        name="biorthogonal",
        factory=biorthogonal,
        summary="An autoencoder that is idempotent by construction; its codes may be rounded.",
        reference="S. E. Otto, G. R. Macchio and C. W. Rowley, Chaos 33 (2023), arXiv 2307.15288",
        exact=True,
        offers=("encode", "decode"),
    )
    yield ModelSpec(
        name="coupling",
        factory=coupling,
        summary="An invertible network of couplings, for the enforcer linearizer.",
        reference="L. Dinh et al., Density estimation using Real NVP, ICLR 2017, arXiv 1605.08803",
        offers=("inverse",),
    )
    yield ModelSpec(
        name="patches",
        factory=patches,
        summary="An autoencoder of overlapping patches: large matrix products only, fast on a CPU.",
        reference="embedding of patches: Dosovitskiy et al., ICLR 2021, arXiv 2010.11929",
        conditional=True,
        offers=("encode", "decode"),
    )
    yield ModelSpec(name="conv", factory=conv, summary="A plain stack of convolutions on images.", reference=cubic)
    yield ModelSpec(
        name="unet",
        factory=unet,
        summary="A small U-Net with skip connections.",
        reference="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
        conditional=True,
    )
    yield ModelSpec(
        name="attention",
        factory=attention,
        summary="A small transformer on sets, sequences or image patches.",
        reference="Vaswani et al., NeurIPS 2017, arXiv 1706.03762; Xiong et al., ICML 2020, arXiv 2002.04745",
        aliases=("transformer",),
        conditional=True,
    )
