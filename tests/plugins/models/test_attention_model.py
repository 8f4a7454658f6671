"""The attention model: equivariance, mixing of tokens, patches, agreement with torch's own attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from torch import nn

from idemlab_models.attention import Attention, _Block


@pytest.mark.parametrize(("shape", "arguments"), [((9,), {}), ((9, 3), {"depth": 1})])
@pytest.mark.parametrize("position", [False, True])
def test_permuted_tokens_give_permuted_outputs_without_positions_only(
    shape: tuple[int, ...], arguments: dict[str, Any], position: bool
) -> None:
    torch.manual_seed(0)
    f = Attention(shape, width=16, position=position, **arguments).double()
    x, order = torch.randn(4, *shape, dtype=torch.float64), torch.randperm(9)
    difference = (f(x[:, order]) - f(x)[:, order]).abs().max()
    assert (difference < 1e-12) is not position


def test_permuted_patches_give_permuted_patches() -> None:
    torch.manual_seed(0)
    f = Attention((2, 4, 6), width=16, patch=2, position=False).double()
    order = torch.randperm(6)
    patches = torch.randn(3, 2, 2, 3, 2, 2, dtype=torch.float64)  # b c h w p q

    def permuted(t: torch.Tensor) -> torch.Tensor:
        t = rearrange(t, "b c h w p q -> b c (h w) p q")[:, :, order]
        return rearrange(t, "b c (h w) p q -> b c (h p) (w q)", h=2)

    y = rearrange(f(rearrange(patches, "b c h w p q -> b c (h p) (w q)")), "b c (h p) (w q) -> b c h w p q", p=2, q=2)
    torch.testing.assert_close(f(permuted(patches)), permuted(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "patch"), [((5,), None), ((5, 3), None), ((2, 8, 12), None), ((1, 6, 4), 2)])
def test_tokens_and_back(shape: tuple[int, ...], patch: int | None) -> None:
    f = Attention(shape, patch=patch)
    x = torch.randn(2, *shape)
    assert torch.equal(f.join(f.split(x)), x)
    assert f.split(x).shape[-1] == f.embed.in_features


def test_a_patch_is_a_square_of_pixels() -> None:
    f = Attention((1, 4, 4), patch=2)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert f.split(x)[0, 1].tolist() == [2.0, 3.0, 6.0, 7.0]


def test_each_token_sees_each_other() -> None:
    torch.manual_seed(0)
    f = Attention((6,), width=8, depth=1).double()
    J = torch.autograd.functional.jacobian(f, torch.randn(1, 6, dtype=torch.float64)).reshape(6, 6)
    assert (J.abs() > 1e-8).all()


def test_a_set_of_another_size_works_without_positions() -> None:
    f = Attention((6,), position=False)
    assert f(torch.randn(2, 11)).shape == (2, 11)


def test_a_block_agrees_with_torch() -> None:
    torch.manual_seed(0)
    ours = _Block(12, 3).double()
    theirs = nn.TransformerEncoderLayer(12, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    theirs.double()
    (norm1, attention), (norm2, linear1, _, linear2) = ours.attend, ours.mix
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(attention.qkv.bias)
    for to, of in (
        (theirs.self_attn.out_proj, attention.out),
        (theirs.norm1, norm1),
        (theirs.norm2, norm2),
        (theirs.linear1, linear1),
        (theirs.linear2, linear2),
    ):
        to.load_state_dict(of.state_dict())
    t = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(t), theirs(t), rtol=0, atol=1e-13)


def test_positions_start_apart() -> None:
    torch.manual_seed(0)
    f = Attention((50,), width=64)
    assert f.position is not None
    assert f.position.std().item() == pytest.approx(0.02, rel=0.1)
