"""Modules as PyTorch has them: each is trained, kept and loaded, or refused before training with the way out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

import idemlab
from idemlab.catalog.named import Named
from idemlab.contracts.dataset import Batch
from idemlab.objective.modules import check_exact, check_spectrum, copied
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

Make = Callable[..., dict[str, Any]]
Use = Callable[[Callable[[], nn.Module]], None]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*weight_norm:FutureWarning", "ignore:None of the inputs have requires_grad"
)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """A function after which every model is what the given factory makes."""
    build = Named.build

    def using(make: Callable[[], nn.Module]) -> None:
        def built(self: Named, *arguments: Any) -> Any:
            return make() if self.kind == "model" else build(self, *arguments)

        monkeypatch.setattr(Named, "build", built)

    return using


def _linear() -> nn.Linear:
    return nn.Linear(4, 4)


def _called(module: nn.Module) -> nn.Module:
    module(torch.zeros(1, 4))
    return module


class _Around(nn.Module):
    """A linear layer and something else; `forward` goes through the layer alone."""

    def __init__(self, **things: Any) -> None:
        super().__init__()
        self.layer = _linear()
        for name, thing in things.items():
            if isinstance(thing, Tensor) and not isinstance(thing, nn.Parameter):
                self.register_buffer(name, thing)
            else:
                setattr(self, name, thing)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _linear(), _linear()
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x))
        return y


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.cell(x[..., None])[0])[..., 0]
        return y


class _Remembering(_Around):
    """Keeps what it has computed last."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


class _Cache(_Around):
    """A buffer that the first forward fills, and that is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ones", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.ones.any():
            self.ones.fill_(1.0)
        return super().forward(x) * self.ones


class _Counter(_Cache):
    def forward(self, x: Tensor) -> Tensor:
        self.ones += 1
        return _Around.forward(self, x)


class _ExtraState(_Around):
    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def _frozen() -> nn.Module:
    return _linear().requires_grad_(False)


def _half_of_a_frozen() -> nn.Module:
    return nn.Sequential(_frozen(), _linear())


HANDLED: dict[str, Callable[[], nn.Module]] = {
    "old weight_norm": lambda: nn.utils.weight_norm(_linear()),
    "old weight_norm, called": lambda: _called(nn.utils.weight_norm(_linear())),
    "old spectral_norm, called": lambda: _called(nn.utils.spectral_norm(_linear())),
    "weight_norm": lambda: parametrizations.weight_norm(_linear()),
    "spectral_norm": lambda: parametrizations.spectral_norm(_linear()),
    "orthogonal": lambda: parametrizations.orthogonal(_linear()),
    "pruned": lambda: prune.random_unstructured(_linear(), "weight", 0.3),
    "tied": _Tied,
    "recurrent": _Recurrent,
    "half frozen": _half_of_a_frozen,
    "remembers what it computed": _Remembering,
    "a cache": _Cache,
    "a buffer of integers": lambda: _Around(order=torch.arange(4)),
    "a buffer that is a view": lambda: _Around(part=torch.zeros(4, 4)[:2]),
    "a frozen parameter of integers": lambda: _Around(order=nn.Parameter(torch.arange(4), requires_grad=False)),
    "float16": lambda: _linear().half(),
    "in place": lambda: nn.Sequential(nn.ReLU6(inplace=True), _linear(), nn.Hardtanh(inplace=True)),
    "checkpointed": lambda: _Checkpointed(_linear()),
}
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lazy": (lambda: nn.LazyLinear(4), "has no shape yet for 'weight'"),
    "lazy buffers": (
        lambda: nn.Sequential(_linear(), nn.LazyBatchNorm1d(affine=False)),
        "has no shape yet for '1.running_mean'",
    ),
    "meta": (lambda: nn.Linear(4, 4, device="meta"), "has no values for 'weight'"),
    "complex": (lambda: _Around(w=nn.Parameter(torch.ones(4, dtype=torch.complex64))), "has complex numbers in 'w'"),
    "a complex buffer": (lambda: _Around(w=torch.ones(4, dtype=torch.complex128)), "has complex numbers in 'w'"),
    "sparse": (lambda: _Around(mask=torch.eye(4).to_sparse()), "has a sparse tensor in 'mask'"),
    "float8": (lambda: _Around(w=torch.ones(4).to(torch.float8_e4m3fn)), "has 8-bit floating point in 'w'"),
    "mixed": (
        lambda: nn.Sequential(_linear(), _linear().bfloat16()),
        "has parameters in float32 ('0.weight') and bfloat16",
    ),
    "extra state": (_ExtraState, "keeps dict in its state under '_extra_state'"),
    "no parameters": (nn.Identity, "nothing can be trained: model 'mlp' has no parameters"),
    "frozen": (_frozen, "nothing can be trained: model 'mlp' has frozen all of its 2 parameters"),
    "a lock": (lambda: _Around(lock=threading.Lock()), "cannot be copied: cannot pickle"),
    "a counter that is not kept": (_Counter, "buffer 'ones' of model 'mlp' changes in training and is not saved"),
    "another precision": (
        lambda: _Returning(lambda y: y.double()),
        "changes the precision of a sample: float32 became float64",
    ),
    "integers": (lambda: _Returning(lambda y: y.long()), "changes the precision of a sample: float32 became int64"),
    "made complex": (
        lambda: _Returning(lambda y: y + 0j),
        "changes the precision of a sample: float32 became complex64",
    ),
    "an embedding": (lambda: nn.Embedding(4, 4), "cannot take the samples of dataset 'gaussian'"),
}


class _Checkpointed(_Around):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.layer, x, use_reentrant=True)
        return y


class _Returning(_Around):
    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(super().forward(x))


@pytest.mark.parametrize("name", HANDLED)
def test_it_is_trained_kept_and_loaded(name: str, use: Use, tiny: Make, tmp_path: Path) -> None:
    use(HANDLED[name])
    table = tiny(training={"steps": 2, "batch_size": 16}, evaluation={"inputs": {}, "rank_points": 1, "points": 4})
    run = idemlab.train(table, tmp_path / "run")
    operator = idemlab.load(run)
    (measured,) = run.certificate["inputs"].values()
    x = assemble(idemlab.resolve(table)).dataset.test.__getitems__([0, 1, 2, 3]).input
    again = idemlab.certify(operator, x, off_manifold=False, rank_points=0)
    assert measured["relative"] == pytest.approx(list(again.relative), rel=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_training(name: str, use: Use, tiny: Make, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    use(make)
    with pytest.raises(idemlab.BadInput) as caught:
        idemlab.train(tiny(), tmp_path / "run")
    assert message in caught.value.what
    assert caught.value.where
    assert caught.value.next_step
    assert not (tmp_path / "run").exists()


def test_a_run_trains_in_place_as_it_does_otherwise(use: Use, tiny: Make, tmp_path: Path) -> None:
    losses = []
    for inplace in (True, False):
        use(lambda inplace=inplace: nn.Sequential(nn.ReLU(inplace=inplace), _linear(), nn.ReLU(inplace=inplace)))  # type: ignore[misc]
        run = idemlab.train(tiny(), tmp_path / str(inplace))
        losses.append([{k: v for k, v in entry.items() if k != "time" and "seconds" not in k} for entry in run.metrics])
    assert losses[0] == losses[1]


def test_a_projection_of_weights_that_are_computed_anew_is_refused(use: Use, tiny: Make, tmp_path: Path) -> None:
    use(lambda: parametrizations.weight_norm(nn.Linear(4, 4, bias=False)))
    with pytest.raises(idemlab.BadInput, match=r"projects '.weight', which a parametrisation"):
        idemlab.train(tiny(enforcer={"name": "purification"}), tmp_path / "run")


def test_a_rank_that_cannot_be_measured_is_known_before_training(use: Use, tiny: Make) -> None:
    use(lambda: _Checkpointed(nn.Linear(1100, 1100)))
    table = tiny(dataset={"name": "gaussian", "shape": [1100], "train": 16, "test": 4})
    experiment = idemlab.resolve(table)
    parts = assemble(experiment)
    with pytest.raises(idemlab.BadInput, match="the rank of this model cannot be measured") as caught:
        preflight(experiment, parts, device=torch.device("cpu"))
    assert caught.value.next_step == "set evaluation.rank_points = 0 to skip the rank"
    table["evaluation"]["rank_points"] = 0
    assert preflight(idemlab.resolve(table), parts, device=torch.device("cpu")).steps == 12


def test_checks_in_evaluation_mode_leave_the_mode_of_each_module_as_it_was(tiny: Make) -> None:
    f, x = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5).eval()), torch.ones(8, 4)
    f[0].weight.data.copy_(torch.eye(4))
    f[0].bias.data.zero_()
    for check in (
        lambda: check_exact(f, Batch(x, x), idemlab.resolve(tiny()).model, ()),
        lambda: check_spectrum(f, Batch(x, x), 1),
    ):
        check()
        assert [module.training for module in f.modules()] == [True, True, False]


def test_a_copy_shares_nothing_and_computes_the_same() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        module = nn.utils.weight_norm(_linear())
    again = copied(module)
    x = torch.randn(3, 4)
    assert torch.equal(again(x), module(x))
    again.weight_g.data.mul_(2)
    assert not torch.equal(again(x), module(x))
