"""The autoencoders, the stack of convolutions and the U-Net: layers, sizes, code, initialisation, skip connections."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from idemlab_models.autoencoder import Autoencoder
from idemlab_models.conv import Conv
from idemlab_models.parts import Residual, group_norm
from idemlab_models.patches import Patches
from idemlab_models.unet import UNet


def convolutions(part: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_channels, m.out_channels) for m in part.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]


@pytest.mark.parametrize(
    ("shape", "depth", "flat"),
    [
        ((1, 28, 28), None, 4 * 7 * 7),
        ((1, 32, 32), None, 8 * 4 * 4),
        ((3, 64, 64), None, 16 * 4 * 4),
        ((1, 36, 36), None, 4 * 9 * 9),
        ((1, 112, 92), None, 4 * 28 * 23),
        ((1, 8, 40), None, 2 * 4 * 20),
        ((1, 4, 4), None, 2 * 2 * 2),
        ((1, 30, 6), 1, 2 * 15 * 3),
        ((1, 8, 8), 3, 8 * 1 * 1),
    ],
)
def test_halvings(shape: tuple[int, ...], depth: int | None, flat: int) -> None:
    f = Autoencoder(shape, channels=2, latent=3, depth=depth)
    assert f.encoder[-1].in_features == flat
    x = torch.randn(2, *shape)
    assert f.encode(x).shape == (2, 3)
    assert f.decode(torch.randn(5, 3)).shape == (5, *shape)
    assert torch.equal(f.decode(f.encode(x)), f(x))


def test_the_decoder_mirrors_the_encoder() -> None:
    f = Autoencoder((3, 64, 64), channels=8, latent=3)
    assert convolutions(f.encoder) == [(3, 8), (8, 16), (16, 32), (32, 64)]
    assert convolutions(f.decoder) == [(64, 32), (32, 16), (16, 8), (8, 3)]


def test_layers_for_digits() -> None:
    f = Autoencoder((1, 28, 28), channels=16, latent=96)
    kinds = [type(layer).__name__ for layer in (*f.encoder, *f.decoder)]
    encoder = ["Conv2d", "LeakyReLU", "Conv2d", "GroupNorm", "LeakyReLU", "Rearrange", "Linear"]
    decoder = ["Linear", "Rearrange", "GroupNorm", "ReLU", "ConvTranspose2d", "GroupNorm", "ReLU"]
    assert kinds == [*encoder, *decoder, "ConvTranspose2d", "Tanh"]
    assert sum(p.numel() for p in f.parameters()) == 319_841


def test_blocks_stand_on_both_sides_of_the_code() -> None:
    torch.manual_seed(0)
    f = Autoencoder((1, 8, 8), channels=2, latent=6, blocks=2)
    blocks = [*f.encoder[-2:], *f.decoder[:2]]
    assert all(isinstance(block, Residual) for block in blocks)
    assert sum(p.numel() for block in blocks for p in block.parameters()) == 4 * (2 * 6 + 24 * 7 + 6 * 25)
    plain = Autoencoder((1, 8, 8), channels=2, latent=6)
    x = torch.randn(3, 1, 8, 8)
    h = nn.Sequential(*f.encoder[:-2])(x)
    assert not torch.equal(f.encode(x), h)
    for block in blocks:  # without their last layers they let the code through
        for parameter in block[-1].parameters():
            nn.init.zeros_(parameter)
    assert torch.equal(f.encode(x), h)
    assert len(plain.encoder) + len(plain.decoder) + 4 == len(f.encoder) + len(f.decoder)


def test_the_code_bounds_the_rank() -> None:
    torch.manual_seed(0)
    f = Autoencoder((1, 8, 8), channels=4, latent=3).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(f, x).reshape(64, 64)
    assert torch.linalg.matrix_rank(J).item() == 3


def test_batch_norm_layers_have_no_bias_before_them() -> None:
    f = Autoencoder((1, 8, 8), channels=4, latent=3, depth=2, norm="batch")
    for part in (f.encoder, f.decoder):
        layers = [layer for layer in part if type(layer).__name__ != "Rearrange"]
        for layer, after in pairwise(layers):
            if isinstance(after, nn.BatchNorm2d):
                assert layer.bias is None
    assert sum(isinstance(m, nn.BatchNorm2d) for m in f.modules()) == 3


def test_activation_in_both_halves() -> None:
    f = Autoencoder((1, 8, 8), channels=4, latent=3, activation="silu")
    assert {type(m) for m in f.modules()} & {nn.ReLU, nn.LeakyReLU, nn.SiLU} == {nn.SiLU}


def test_output_is_bounded_by_tanh_or_linear() -> None:
    bounded = Autoencoder((1, 8, 8), channels=4, latent=3)
    free = Autoencoder((1, 8, 8), channels=4, latent=3, output="none")
    free.load_state_dict(bounded.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(bounded(x), free(x).tanh())


def test_start_as_dcgan() -> None:
    torch.manual_seed(0)
    f = Autoencoder((3, 32, 32), channels=32, latent=64, init="dcgan")
    for module in f.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.002
        elif isinstance(module, nn.GroupNorm):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=0.02)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.5)
        else:
            continue
        assert module.bias is not None
        assert not module.bias.any()


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (4, 2), (6, 3), (7, 1), (8, 4), (12, 6), (16, 8), (64, 8)]
)
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize(("below", "skip"), [(True, True), (False, True), (True, False), (False, False)])
def test_unet_sees_what_comes_from_below_and_what_skips(below: bool, skip: bool) -> None:
    """Either path alone carries the image to the output; with both cut, the output is the same for all images."""
    torch.manual_seed(0)
    f = UNet((1, 8, 8), channels=4)
    with torch.no_grad():
        for up, merge in zip(f.up, f.merge, strict=True):
            up.weight *= below
            merge[0].weight[:, up.out_channels :] *= skip
    y = f(torch.randn(2, 1, 8, 8))
    difference = (y[0] - y[1]).abs().max().item()
    assert difference > 0.01 if below or skip else difference == 0


def test_the_stack_of_convolutions_has_its_depth_in_hidden_layers() -> None:
    f = Conv((2, 5, 4), channels=6, depth=3, norm="group")
    assert convolutions(f) == [(2, 6), (6, 6), (6, 6), (6, 2)]
    assert sum(isinstance(m, nn.GroupNorm) for m in f.modules()) == 3
    assert not any(isinstance(m, nn.GroupNorm) for m in Conv((2, 5, 4)).modules())


def test_the_stack_of_convolutions_sees_as_far_as_its_layers_reach() -> None:
    """Three 3x3 convolutions: what lies more than three pixels away makes no difference."""
    f = Conv((1, 9, 9), depth=2).double()
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    far, near = x.clone(), x.clone()
    far[..., 8, 8] += 1
    near[..., 7, 7] += 1
    assert torch.equal(f(far)[..., 4, 4], f(x)[..., 4, 4])
    assert not torch.equal(f(near)[..., 4, 4], f(x)[..., 4, 4])


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_patches_are_maps_of_windows(overlap: int) -> None:
    """The first layer is a convolution whose stride is the patch, and the last layer a transposed one."""
    torch.manual_seed(0)
    f = Patches((2, 8, 12), channels=5, latent=4, overlap=overlap, blocks=0, output="none")
    side = 4 + 2 * overlap
    first, last = f.encoder[1], f.decoder[-2]
    x, tokens = torch.randn(3, 2, 8, 12), torch.randn(3, 6, 5)
    weight = first.weight.view(5, 2, side, side)
    expected = nn.functional.conv2d(x, weight, first.bias, stride=4, padding=overlap)
    torch.testing.assert_close(f.encoder[:2](x), expected.flatten(2).mT)
    last.bias.data.zero_()
    weight = last.weight.mT.reshape(5, 2, side, side)
    maps = tokens.mT.unflatten(2, (2, 3))
    torch.testing.assert_close(
        f.decoder[-2:](tokens), nn.functional.conv_transpose2d(maps, weight, stride=4, padding=overlap)
    )
