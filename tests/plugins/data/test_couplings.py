"""Soft couplings: marginals, the limit of cold, what debiasing does, and what is refused."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Step, generator, resolve
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight
from idemlab_data.couplings import COLDEST, assignment, distances, soft_coupling
from idemlab_data.matched import TransportSource
from idemlab_data.noise import GaussianSource


def cloud(count: int, seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(count, *(shape or (5,)), generator=torch.Generator().manual_seed(seed))


DATA = Dataset.of_tensors(train=cloud(300, 3), test=torch.zeros(1, 5))


class Coder(nn.Module):
    """f = decode(encode(x)) on five numbers, with a code of two."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(5, 2), nn.Linear(2, 5)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(cloud(parameter.numel(), 10 + i, 1).view(parameter.shape))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(x))


def transport(pool: int = 12, data: Dataset = DATA, **settings) -> TransportSource:
    source = TransportSource(pool, GaussianSource(1.0), True, **settings)
    source.fit(data)
    return source


def batch(count: int = 12, *shape: int) -> Batch:
    x = torch.zeros(count, *(shape or (5,)))
    return Batch(x, x)


# -- the coupling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("temperatures", [(1.0,), (0.05,), (0.002,), (0.5, 0.05, 0.02)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_both_marginals_are_kept_at_every_temperature_and_scale(scale, temperatures, squared):
    cost = distances(scale * cloud(40, 0), scale * (3 + cloud(40, 1)), squared=squared)
    coupling = soft_coupling(cost, [float(cost.mean()) * t for t in temperatures])
    assert (coupling >= 0).all()
    for dim in (0, 1):
        torch.testing.assert_close(coupling.sum(dim), torch.ones(40), rtol=0, atol=1e-5)


def test_it_minimises_cost_less_temperature_times_entropy():
    """At the optimum log P_ij + c_ij / t is a sum u_i + v_j: all its second differences vanish."""
    cost = distances(cloud(20, 0).double(), cloud(20, 1).double()).double()
    t = 0.2 * float(cost.mean())
    coupling = soft_coupling(cost, [t])
    inside = coupling.log() + cost / t
    second = inside - inside[:1] - inside[:, :1] + inside[0, 0]
    assert second.abs().max() < 0.02
    torch.testing.assert_close(soft_coupling(torch.zeros(4, 4), [1.0]), torch.full((4, 4), 0.25))


def test_several_temperatures_are_the_mean_of_each():
    cost = distances(cloud(20, 0), cloud(20, 1))
    both = soft_coupling(cost, [0.1, 0.5])
    torch.testing.assert_close(both, (soft_coupling(cost, [0.1]) + soft_coupling(cost, [0.5])) / 2, rtol=0, atol=2e-4)


@pytest.mark.parametrize("squared", [False, True])
def test_the_limit_of_cold_is_the_assignment(squared):
    cost = distances(cloud(6, 4), cloud(6, 5), squared=squared)
    order = assignment(cost)
    best = min(permutations(range(6)), key=lambda p: sum(cost[i, j].item() for i, j in enumerate(p)))
    assert order.tolist() == list(best)
    coupling = soft_coupling(cost, [COLDEST * float(cost.mean())])
    torch.testing.assert_close(coupling, nn.functional.one_hot(order, 6).float(), rtol=0, atol=1e-2)


def test_permuting_the_clouds_permutes_the_coupling():
    x, y = cloud(30, 0), cloud(30, 1)
    rows, columns = (torch.randperm(30, generator=torch.Generator().manual_seed(i)) for i in (2, 3))
    t = [0.05 * float(distances(x, y).mean())]
    torch.testing.assert_close(
        soft_coupling(distances(x[rows], y[columns]), t),
        soft_coupling(distances(x, y), t)[rows][:, columns],
        rtol=0,
        atol=1e-3,
    )


# -- the source ---------------------------------------------------------------------------------------------------------


def test_soft_targets_are_the_formula_and_become_those_one_to_one():
    f, seen = nn.Identity(), []
    f.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    hard = transport(6).sample(batch(6), Step(seed=2), f)
    z = seen[0]
    cold = transport(6, temperatures=[COLDEST]).sample(batch(6), Step(seed=2), f)
    by_point = {tuple(point.tolist()): target for point, target in zip(hard.points, hard.targets, strict=True)}
    assert torch.equal(cold.points, z)
    expected = torch.stack([by_point[tuple(point.tolist())] for point in z])
    torch.testing.assert_close(cold.targets, expected, rtol=0, atol=0.05)
    seen.clear()
    warm = transport(temperatures=[0.3]).sample(batch(), Step(seed=2), f)
    z, further = seen
    y, other = f(z).detach(), f(further).detach()
    x = drawn_at_first(seed=2)
    costs = distances(y, x), distances(y, other)
    heat = [0.3 * float(costs[0].mean() + costs[1].mean()) / 2]
    P, Q = (soft_coupling(cost, heat) for cost in costs)
    torch.testing.assert_close(warm.targets, y + P @ x - Q @ other, rtol=0, atol=1e-4)


def test_an_assignment_inside_classes_is_that_of_each_class_alone():
    cost, classes = distances(cloud(9, 1), cloud(9, 2)), torch.tensor([0, 1, 0, 2, 1, 1, 0, 2, 0])
    order = assignment(cost, classes)
    for each in range(3):
        rows = (classes == each).nonzero()[:, 0]
        assert torch.equal(order[rows], rows[assignment(cost[rows][:, rows])])


def drawn_at_first(seed: int) -> torch.Tensor:
    """The twelve samples that a source draws at step 0."""
    return DATA.train.input[torch.randint(300, (12,), generator=generator(seed, 0, "train, transport"))]


@pytest.mark.parametrize(
    "settings", [{}, {"temperatures": [0.1]}, {"temperatures": [0.5, 0.05], "squared": True}], ids=str
)
def test_equal_clouds_are_not_moved(settings, monkeypatch):
    """Where x and f(z') are one cloud, the target of each z is f(z) itself."""
    source, z = transport(**settings), cloud(12, 8)
    x = drawn_at_first(seed=0)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr(source, "_drawn", lambda batch, step: x if "debiasing" in step.purpose else z)
    given = source.sample(batch(), Step(), nn.Identity())
    torch.testing.assert_close(given.targets, given.points, rtol=0, atol=5e-3)


def test_soft_targets_do_not_shrink_what_has_the_distribution_of_the_data():
    """On normal data with f = identity the best linear prediction of the target from f(z) is f(z) itself."""
    data = Dataset.of_tensors(train=cloud(20_000, 4), test=torch.zeros(1, 5))
    source = transport(16, data, temperatures=[0.1], squared=True)
    drawn = [source.sample(batch(16), Step(seed=5, index=i), nn.Identity()) for i in range(24)]
    z, t = torch.cat([p.points for p in drawn]), torch.cat([p.targets for p in drawn])
    assert ((z * t).sum() / z.square().sum()).item() == pytest.approx(1.0, abs=0.05)


def test_squared_targets_follow_the_gradient_of_the_sinkhorn_divergence():
    """f is a free cloud: the loss of a step along y - target falls, by finite differences of S in the sample limit.

    Q couples y with other draws of f(z), so y' = y is put in by hand, where the formula is the gradient exactly.
    """
    y, x = cloud(10, 0).double().requires_grad_(), (1 + cloud(10, 1)).double()
    t = 1.0

    def entropic(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        cost = torch.cdist(a, b).square() / 2
        u = v = torch.zeros(10, dtype=torch.float64)
        for _ in range(200):
            u = -t * torch.logsumexp((v - cost) / t, 1)
            v = -t * torch.logsumexp((u[:, None] - cost) / t, 0)
        coupling = ((u[:, None] + v - cost) / t).exp().detach() / 10
        return (coupling * cost).sum()  # the envelope: the coupling is held

    (entropic(y, x) - entropic(y, y.detach().clone())).backward()
    P, Q = (soft_coupling(torch.cdist(y, b).square().detach() / 2, [t]) for b in (x, y))
    torch.testing.assert_close(-10 * y.grad, P @ x - Q @ y.detach(), rtol=0, atol=5e-3)


def test_codes_and_features_are_what_is_compared_and_samples_are_the_targets():
    f, step = Coder(), Step(seed=1)
    source = TransportSource(12, GaussianSource(1.0), cost="code")
    source.fit(DATA)
    points, targets = source.sample(batch(), step, f)[:2]
    with torch.no_grad():
        cost = distances(f.encode(targets), f.encode(f(points)))
    assert assignment(cost).tolist() == list(range(12))
    assert assignment(distances(targets, f(points).detach())).tolist() != list(range(12))
    assert all((DATA.train.input == target).all(1).any() for target in targets)
    images = Dataset.of_tensors(train=cloud(50, 3, 1, 8, 8), test=cloud(2, 4, 1, 8, 8))
    for cost in ("pca", "coarse"):
        source = TransportSource(6, GaussianSource(1.0), cost=cost)
        source.fit(images)
        points, targets = source.sample(batch(6, 1, 8, 8), step, nn.Identity())[:2]
        assert assignment(distances(source.space(targets), source.space(points))).tolist() == list(range(6))
    assert source.space(targets).shape == (6, 4)


def test_a_pool_may_serve_several_passes_in_new_orders():
    source, calls = transport(12, passes=2), []
    f = Coder()
    f.register_forward_pre_hook(lambda module, arguments: calls.append(len(arguments[0])))
    assert source.period(5) == 4
    steps = [source.sample(batch(5), Step(seed=1, index=i), f) for i in range(5)]
    assert calls == [12, 12] * 2  # f(z) and f(z') at steps 0 and 4
    first, second = (torch.cat([steps[i].points for i in turn]) for turn in ((0, 1), (2, 3)))
    whole = transport(12).sample(batch(), Step(seed=1), f)
    known = {tuple(point.tolist()): target for point, target in zip(whole.points, whole.targets, strict=True)}
    for again in steps[2:4]:
        assert all(torch.equal(known[tuple(p.tolist())], t) for p, t in zip(again.points, again.targets, strict=True))
    assert not torch.equal(first, second)
    assert len(second.unique(dim=0)) == 10


def test_the_average_of_the_operator_is_carried_and_kept(tmp_path):
    def state(weight: float) -> nn.Module:
        f = nn.Linear(5, 5, bias=False)
        with torch.no_grad():
            f.weight.copy_(weight * torch.eye(5))
        return f

    source = transport(4, temperatures=[0.1], ema=0.9)
    for i, weight in enumerate([1.0, 1.0, 1.0, 4.0]):
        source.sample(batch(4), Step(index=i), state(weight))
    f = state(4.0)
    decay = (1 + 3) / (10 + 3)
    assert source.average.mean.view(5, 5)[0, 0] == pytest.approx(decay * 1 + (1 - decay) * 4)
    resumed = transport(4, temperatures=[0.1], ema=0.9)
    resumed.load_state_dict(source.state_dict())
    for one in (source, resumed):
        one.sample(batch(2), Step(index=3), f)  # the same step asks again, in another micro-batch
    a, b = (one.sample(batch(4), Step(index=4), f) for one in (source, resumed))
    assert torch.equal(a.targets, b.targets)
    assert torch.equal(f.weight, 4 * torch.eye(5))
    followed = float(source.average.mean[0])
    seen = transport(4, temperatures=[0.1]).sample(batch(4), Step(index=4), state(followed))
    torch.testing.assert_close(a.targets, seen.targets)


def table(**source: object) -> dict[str, object]:
    return {
        "dataset": {"name": "gaussian", "shape": [1, 8, 8], "train": 40, "test": 10},
        "model": {"name": "conv", "channels": 2, "depth": 1},
        "source": {"name": "transport", "pool": 8, **source},
        "training": {"steps": 1, "batch_size": 8},
        "evaluation": {"inputs": {}, "metrics": [{"name": "diversity", "features": "pca"}]},
    }


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"temperatures": [0.0]}, "0.001"),
        ({"temperatures": [1e-8]}, "0.001"),
        ({"temperatures": []}, "at least 1"),
        ({"cost": "cnn"}, "pixels"),
        ({"cost": "pca"}, "metric 'diversity' judges by the same features"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_when_the_file_is_read(source, words):
    with pytest.raises(BadInput) as caught:
        resolve(table(debiased=True, **source))
    assert words in f"{caught.value} {caught.value.expected} {caught.value.choices}"
    assert caught.value.next_step


def test_a_source_inside_another_is_no_exception_and_other_features_are_free():
    inside = {"name": "augmented", "transforms": [{"name": "RandomRotation", "degrees": 5}]}
    plain = table(cost="pca")
    with pytest.raises(BadInput, match="learns from the features 'pca'") as caught:
        resolve(plain | {"source": ["data", inside | {"then": plain["source"]}]})
    assert "for the metric" in caught.value.next_step
    with pytest.raises(BadInput, match="learns from the features 'pca'"):
        resolve(plain | {"source": "data", "reconstruction": {"weight": 1.0, "input": plain["source"]}})
    assert resolve(table(cost="coarse")).sources[0].arguments["cost"] == "coarse"
    resolve(plain | {"evaluation": {"inputs": {}, "metrics": [{"name": "diversity", "features": "hog"}]}})


def test_what_needs_the_data_or_the_operator_is_refused_before_training():
    with pytest.raises(BadInput, match="averages of samples") as caught:
        assemble(resolve(table(temperatures=[0.1])))
    assert "'debiased' of the source to true" in caught.value.next_step
    with pytest.raises(BadInput, match="too small for float32") as caught:
        transport(temperatures=[1e-5])
    assert "one-to-one" in caught.value.next_step
    experiment = resolve(table(cost="code"))
    with pytest.raises(BadInput, match="no method 'encode'") as caught:
        preflight(experiment, assemble(experiment), device=torch.device("cpu"))
    assert "'cost' of the source to pixels" in caught.value.next_step
    with pytest.raises(BadInput, match="no blocks"):
        transport(cost="coarse")
    for kind in ({"name": "transport"}, {"name": "imle"}):  # all z were zero
        with pytest.raises(BadInput, match="made of the data") as caught:
            assemble(resolve(table() | {"source": kind | {"noise": "corrupted"}}))
        assert "'gaussian'" in caught.value.next_step


def test_an_operator_that_has_diverged_is_carried_anyhow_and_the_loss_says_so():
    class Diverged(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z * torch.inf

    source = TransportSource(4, GaussianSource(1.0))
    source.fit(DATA)
    x = cloud(4, 1)
    points, targets, _ = source.sample(Batch(x, x), Step(), Diverged())
    assert points.isfinite().all()
    assert targets.isfinite().all()
