"""What people hand to `certify`: in place, in NumPy, without a gradient, complex, in any precision. Certified or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from idemlab import Certificate, certify
from idemlab.certificate.spectrum import gradient_refused


def _normal(n: int = 5, count: int = 60, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


# -- callables without a gradient -------------------------------------------------------------------------------------


class _Bias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand_as(x)


def _written_by_numpy(x: Tensor) -> Tensor:
    values = x.numpy()
    values[values < 0] = 0
    return torch.from_numpy(values)


def _one_hot(x: Tensor) -> Tensor:
    return nn.functional.one_hot(x.argmax(1), x.shape[1])


def _taken(got: str, own: str = "float32") -> str:
    return f"f returns {got} for inputs in {own}: its values were converted to {own}"


def _winner(x: Tensor) -> Tensor:
    return x.argmax(1, keepdim=True).expand(x.shape)


NO_GRADIENT = "no spectrum: f gives no gradient"
NUMPY = f"{NO_GRADIENT}: Can't call numpy() on Tensor that requires grad"
CALLABLES: list[tuple[str, Callable[..., Any], str, str]] = [
    ("zeros_like", torch.zeros_like, "constant", NO_GRADIENT),
    ("a bias alone", _Bias(), "constant", f"{NO_GRADIENT} to its input"),
    ("detached", lambda x: x.detach().relu(), "genuine", NO_GRADIENT),
    ("no_grad", torch.no_grad()(torch.relu), "genuine", NO_GRADIENT),
    ("inference_mode", torch.inference_mode()(torch.relu), "genuine", NO_GRADIENT),
    ("one-hot", lambda x: _one_hot(x).to(x), "genuine", NO_GRADIENT),
    ("one-hot of integers", _one_hot, "genuine", f"{_taken('int64')}; {NO_GRADIENT}"),
    ("bool", lambda x: x > 0, "genuine", f"{_taken('bool')}; {NO_GRADIENT}"),
    ("argmax in place of the entries", _winner, "not idempotent", f"{_taken('int64')}; {NO_GRADIENT}"),
    ("numpy", lambda x: torch.from_numpy(np.maximum(x.numpy(), 0)), "genuine", NUMPY),
    ("an array of numpy", lambda x: np.maximum(x.numpy(), 0), "genuine", NUMPY),
    ("float64 of numpy", lambda x: np.maximum(x.numpy().astype(float), 0), "genuine", f"{_taken('float64')}; {NUMPY}"),
    ("numpy in place", _written_by_numpy, "genuine", NUMPY),
]  # fmt: skip


@pytest.mark.parametrize(("f", "verdict", "remark"), [c[1:] for c in CALLABLES], ids=[c[0] for c in CALLABLES])
def test_callables_without_a_gradient_are_certified_without_a_spectrum_and_told_why(
    f: Callable[..., Any], verdict: str, remark: str
) -> None:
    x = _normal()
    before = x.clone()
    certificate = certify(f, x)
    assert (certificate.verdict, certificate.remark, certificate.spectra) == (verdict, remark, ())
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x.argmax(1), r"keeps the shape of its input: \(60, 5\) became \(60,\)"),
        (lambda x: (x, x), "returns a tensor, got tuple"),
        (lambda x: None, "returns a tensor, got NoneType"),
        (lambda x: x + 1j, "real became complex"),
    ],
)
def test_what_is_no_operator_is_refused(f: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(f, _normal())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 3)), "a tensor as inputs, got ndarray"),
        ([[1.0, 2.0], [3.0, 4.0]], "a tensor as inputs, got list"),
        (torch.tensor(1.0), "got one number"),
        (torch.eye(4).to_sparse(), "got a sparse tensor"),
        (torch.ones(1, 3), "at least 2 inputs"),
        (torch.ones(0, 3), "at least 2 inputs"),
    ],
)
def test_inputs_that_are_no_points_are_refused(x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(torch.relu, x)


# -- in place ---------------------------------------------------------------------------------------------------------


def _added(x: Tensor, condition: Tensor) -> Tensor:
    return x.mul_(condition.mul_(0.5))


@pytest.mark.parametrize(
    ("f", "same"),
    [
        (nn.ReLU(inplace=True), nn.ReLU()),
        (nn.Sequential(nn.Hardtanh(inplace=True), nn.Dropout(inplace=True)), nn.Hardtanh()),
        (lambda x: x.clamp_(-0.5, 0.5), lambda x: x.clamp(-0.5, 0.5)),
        (lambda x: x.sub_(x.mean(1, keepdim=True)), lambda x: x - x.mean(1, keepdim=True)),
    ],
)
def test_an_operator_that_works_in_place_is_judged_as_any(
    f: Callable[..., Tensor], same: Callable[..., Tensor]
) -> None:
    x = _normal()
    before = x.clone()
    assert certify(f, x).as_dict() == certify(same, before).as_dict()
    assert torch.equal(x, before)


def test_a_condition_is_left_alone_too() -> None:
    x, c = _normal(), torch.rand(60, 1)
    kept = c.clone()
    assert certify(_added, x, condition=c).as_dict() == certify(lambda x, c: 0.5 * c * x, x, condition=c).as_dict()
    assert torch.equal(c, kept)


# -- precisions -------------------------------------------------------------------------------------------------------

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
OTHERS = [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_every_floating_point_of_16_bits_and_more(dtype: torch.dtype) -> None:
    x = _normal(dtype=dtype)
    orthant = certify(torch.relu, x, rank_points=1)
    assert (orthant.verdict, orthant.rank) == ("genuine", int((x[0] > 0).sum()))
    assert certify(lambda t: 1.0 * t, x).verdict == "identity"
    assert certify(lambda t: 0 * t + 0.3, x).verdict == "constant"
    assert certify(lambda t: 0.5 * t, x).verdict == "not idempotent"
    layer = nn.Linear(5, 5).to(dtype)
    assert len(certify(layer, x, rank_points=1).spectra[0].singular_values) == 5


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_other_inputs_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"at least 16 bits, or complex; got {str(dtype).removeprefix('torch.')}"):
        certify(lambda x: x, _normal().to(dtype))


def test_a_model_of_several_precisions_is_certified_in_that_of_its_inputs() -> None:
    half = nn.Linear(5, 5).bfloat16()
    certificate = certify(lambda x: half(x.bfloat16()), _normal())
    assert certificate.remark == _taken("bfloat16")
    assert len(certificate.spectra) == 8
    assert not certificate.discrete
    whole = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = certify(lambda x: whole(x).float(), _normal())
    assert (len(mixed.spectra), mixed.discrete, mixed.remark) == (8, False, "")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_operators_are_measured_with_both_their_parts(dtype: torch.dtype) -> None:
    x = torch.complex(_normal(6, dtype=torch.float64), _normal(6, dtype=torch.float64).flip(0)).to(dtype)
    g = torch.Generator().manual_seed(1)
    q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.complex128)).Q
    p = (q[:, :2] @ q[:, :2].mH).T.to(dtype)
    turned = certify(lambda z: 1j * z, x)
    assert turned.verdict == "not idempotent"
    assert turned.relative[0] == pytest.approx(
        2**0.5 * float(x.abs().square().sum() / (x - x.mean(0)).abs().square().sum()) ** 0.5, rel=1e-6
    )
    assert (turned.dimension, turned.rank, turned.trace) == (12, 12, pytest.approx(0))
    assert turned.spread == pytest.approx(float((x - x.mean(0)).abs().square().mean().sqrt()), rel=1e-6)
    assert turned.absolute[0] == pytest.approx(float(2**0.5 * x.abs().mean()), rel=1e-6)
    projected = certify(lambda z: z @ p, x)
    assert (projected.verdict, projected.rank, projected.trace) == ("genuine", 4, pytest.approx(4, rel=1e-5))
    assert certify(lambda z: 1.0 * z, x).verdict == "identity"
    conjugated = certify(torch.conj, x)
    assert (conjugated.verdict, conjugated.rank, conjugated.trace) == ("not idempotent", 12, pytest.approx(0))
    assert certify(lambda z: z.conj().conj(), x.conj()).verdict == "identity"
    assert certify(lambda z: 0 * z + 1j, x).verdict == "constant"
    # The real axis is a real subspace, though not a complex one; a part that is thrown away counts.
    real = certify(lambda z: z.real, x)
    assert (real.verdict, real.rank) == ("genuine", 6)
    assert real.remark == _taken(str(x.real.dtype)[6:], str(dtype)[6:])
    assert certify(lambda z: torch.complex(z.real.round(), z.imag.round()), x).discrete


def test_many_complex_numbers_are_sketched_on_the_reals() -> None:
    z = torch.complex(_normal(600, 10), _normal(600, 10).flip(0))
    certificate = certify(lambda z: torch.cat([z[:, :3], 0 * z[:, 3:]], 1), z, rank_points=1)
    assert (certificate.dimension, certificate.rank) == (1200, 6)


# -- Jacobians that autograd does not give ----------------------------------------------------------------------------


class _Attention(nn.Module):
    """Self-attention of tokens of 8 numbers: its fused kernel cannot be differentiated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.view(len(x), -1, 8)
        y: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return y.reshape(x.shape)


class _Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.inner, x, use_reentrant=True)
        return y


def _spectrum(certificate: Certificate) -> tuple[Tensor, float]:
    (spectrum,) = certificate.spectra
    return torch.tensor(spectrum.singular_values), spectrum.trace


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> int:
    """A dimension too large for an exact spectrum. The limit is lowered, since a spectrum of 1025 numbers takes seconds."""
    monkeypatch.setattr("idemlab.certificate.spectrum.EXACT_UP_TO", 96)
    return 104


def test_attention_of_many_numbers_has_a_spectrum(many: int) -> None:
    torch.manual_seed(0)
    f = _Attention().double()
    x = _normal(many, 4, torch.float64)
    certificate = certify(f, x, rank_points=1)
    assert certificate.remark.startswith("spectrum by finite differences: derivative for")
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        values, trace = _spectrum(certify(f, x, rank_points=1))
    assert torch.allclose(_spectrum(certificate)[0], values, atol=1e-6)
    assert _spectrum(certificate)[1] == pytest.approx(trace, abs=1e-6)
    assert gradient_refused(f, x[0]) is None


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.long
def test_a_reentrant_checkpoint_has_a_spectrum_unless_it_has_many_numbers(many: int) -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6)).double()
    f, x = _Checkpointed(inner), _normal(6, dtype=torch.float64)
    certificate = certify(f, x, rank_points=1)
    assert certificate.remark.startswith("spectrum by finite differences: When use_reentrant=True")
    values, trace = _spectrum(certify(inner, x, rank_points=1))
    assert torch.allclose(_spectrum(certificate)[0], values, atol=1e-8)
    assert _spectrum(certificate)[1] == pytest.approx(trace, abs=1e-8)
    assert all(p.grad is None for p in f.parameters())
    x = _normal(many, 4)
    wide = _Checkpointed(nn.Linear(many, many))
    assert certify(wide, x, rank_points=1).remark.startswith("no spectrum: autograd refuses: When use_reentrant=True")
    assert "use_reentrant" in str(gradient_refused(wide, x[0]))
