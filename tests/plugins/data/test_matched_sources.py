"""Noise matched to data: the nearest of a pool, or one to one, without side effects, in one process or several."""

from __future__ import annotations

import copy
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from idemlab import BadInput, Batch, Dataset, Points, Source, Step, resolve
from idemlab.contracts.step import Shard
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight
from idemlab_data.couplings import assignment
from idemlab_data.matched import ImleSource, TransportSource
from idemlab_data.noise import FourierSource, GaussianSource


def batch(count: int = 6, *shape: int) -> Batch:
    x = torch.randn(count, *(shape or (5,)), generator=torch.Generator().manual_seed(1))
    return Batch(x, x)


def operator() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 5), nn.Tanh())


class Recording(nn.Module):
    """Keeps what it was called with."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.seen: list[torch.Tensor] = []

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(z)
        return self.inside(z)


def test_each_x_gets_the_z_of_the_pool_whose_image_is_nearest():
    b, f = batch(), Recording(operator())
    points, targets, _ = ImleSource(40, GaussianSource(1.0)).sample(b, Step(seed=2), f)
    (pool,) = f.seen
    assert pool.shape == (40, 5)
    assert targets is b.target
    for z, x in zip(points, b.target, strict=True):
        distances = [(f.inside(candidate) - x).norm().item() for candidate in pool]
        assert torch.equal(z, pool[distances.index(min(distances))])


def test_x_is_the_clean_target_not_the_corrupted_input():
    b = batch()
    corrupted = Batch(b.input + 3, b.target)
    source = ImleSource(30, GaussianSource(1.0))
    assert torch.equal(source.sample(corrupted, Step(), operator()).points, source.sample(b, Step(), operator()).points)


def test_images_are_compared_as_wholes():
    b = batch(3, 1, 4, 4)
    points = ImleSource(20, GaussianSource(1.0)).sample(b, Step(), nn.Identity()).points
    assert points.shape == b.input.shape


def test_a_pool_of_one_serves_all():
    points = ImleSource(1, GaussianSource(1.0)).sample(batch(), Step(), operator()).points
    assert len(points.unique(dim=0)) == 1


def test_a_larger_pool_is_nearer():
    b, f = batch(), operator()
    errors = [
        (f(ImleSource(pool, GaussianSource(1.0)).sample(b, Step(), f).points) - b.target).norm()
        for pool in (1, 10, 1000)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_the_pool_is_new_at_each_step_and_apart_from_other_draws():
    b, source, f = batch(), ImleSource(8, GaussianSource(1.0)), Recording(nn.Identity())
    step = Step(seed=1, index=0)
    source.sample(b, step, f)
    source.sample(b, Step(seed=1, index=1), f)
    assert not torch.equal(f.seen[0], f.seen[1])
    untouched = Step(seed=1, index=0).normal(b.input)
    assert torch.equal(step.normal(b.input), untouched)  # the pool took nothing from the step's own stream


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_stay_in_their_mode_and_learn_nothing(training):
    norm = nn.BatchNorm1d(5)
    norm.running_mean.fill_(0.25)
    f = nn.Sequential(nn.Linear(5, 5), norm).train(training)
    before = {name: value.clone() for name, value in f.state_dict().items()}
    b, source = batch(), ImleSource(30, GaussianSource(1.0))
    points = source.sample(b, Step(), f).points
    for name, value in f.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert norm.track_running_stats
    assert norm.training == training
    pool = Step(purpose="train, imle").normal(torch.empty(30, 5))
    with torch.no_grad():
        y = f(pool)  # in training mode with the statistics of the pool, as it must have been
    assert torch.equal(points, pool[torch.cdist(b.target, y).argmin(1)])


def test_batch_norms_learn_again_after_an_error():
    class Fails(nn.Module):
        def forward(self, z):
            raise RuntimeError("inside")

    f = nn.Sequential(nn.BatchNorm1d(5), Fails())
    with pytest.raises(RuntimeError, match="inside"):
        ImleSource(4, GaussianSource(1.0)).sample(batch(), Step(), f)
    assert f[0].track_running_stats


def test_other_noise_is_fitted_and_used():
    data = Dataset.of_tensors(train=100 + torch.randn(50, 5), test=torch.zeros(1, 5))
    source = ImleSource(16, FourierSource(50))
    source.fit(data)
    f = Recording(nn.Identity())
    source.sample(batch(), Step(), f)
    assert f.seen[0].mean() > 90


@pytest.mark.parametrize("kind", [ImleSource, TransportSource])
def test_evaluation_uses_plain_noise_and_no_operator(kind):
    b = batch()
    assert torch.equal(kind(8, GaussianSource(2.0)).fresh(b, Step(seed=4)), 2 * Step(seed=4).normal(b.input))


@pytest.mark.parametrize("kind", [ImleSource, TransportSource])
def test_a_condition_that_is_no_class_is_refused(kind):
    b = batch().replace(condition=torch.zeros(6))
    source = kind(8, GaussianSource(1.0))
    source.fit(DATA)
    with pytest.raises(BadInput, match=r"inside classes, and the condition has the shape \[6\] and the type float32"):
        source.sample(b, Step(), operator())


def test_the_noise_s_state_is_part_of_the_source():
    class Stateful(Source):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))

        def sample(self, batch, step, operator):
            return Points(self.scale * step.normal(batch.input))

    assert list(ImleSource(4, Stateful()).state_dict()) == ["noise.scale"]


@pytest.mark.parametrize("kind", [ImleSource, TransportSource])
def test_micro_batches_choose_as_the_whole_batch_does(kind):
    b, f, source = batch(8), operator(), kind(50, GaussianSource(1.0))
    source.fit(DATA)
    whole = source.sample(b, Step(seed=1), f)
    for micro in range(2):
        rows = slice(4 * micro, 4 * micro + 4)
        part = Batch(b.input[rows], b.target[rows])
        chosen = source.sample(part, Step(seed=1, shard=Shard(micro=micro, micros=2)), f)
        assert torch.equal(chosen.points, whole.points[rows])
        assert torch.equal(chosen.targets, whole.targets[rows])


# -- one to one ---------------------------------------------------------------------------------------------------------

DATA = Dataset.of_tensors(train=torch.randn(300, 5, generator=torch.Generator().manual_seed(3)), test=torch.zeros(1, 5))


def transport(pool: int, data: Dataset = DATA, *, debiased: bool = False, **settings) -> TransportSource:
    source = TransportSource(pool, GaussianSource(1.0), debiased, **settings)
    source.fit(data)
    return source


def test_no_plan_is_shorter_than_the_one_that_is_chosen():
    """Against all permutations of a small pool."""
    f = Recording(operator())
    points, targets, _ = transport(6).sample(batch(6), Step(seed=2), f)
    (pool,) = f.seen
    cost = torch.cdist(targets, f.inside(pool))
    chosen = [next(j for j, z in enumerate(pool) if torch.equal(z, point)) for point in points]
    assert sorted(chosen) == list(range(6))
    shortest = min(sum(cost[i, j].item() for i, j in enumerate(order)) for order in permutations(range(6)))
    assert sum(cost[i, j].item() for i, j in enumerate(chosen)) == pytest.approx(shortest, rel=1e-6)


def test_every_class_gets_its_share_of_the_noise_where_the_nearest_gives_it_none():
    """f(z) is always nearer to one of two clusters: its z's serve both, or are shared out."""
    centres = torch.tensor([[0.0, 1, 0, 0, 0], [0.0, 9, 0, 0, 0]])
    clusters = Dataset.of_tensors(train=centres.repeat(150, 1), test=torch.zeros(1, 5))
    near = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    _, targets, _ = transport(64, clusters).sample(batch(64), Step(seed=1), near)
    far = targets[:, 1].eq(9).double().mean().item()
    assert far == pytest.approx(0.5, abs=0.15)
    points, _, _ = transport(64, clusters).sample(batch(64), Step(seed=1), near)
    assert len(points.unique(dim=0)) == 64
    both = Batch(targets, targets)
    assert len(ImleSource(64, GaussianSource(1.0)).sample(both, Step(seed=1), near).points.unique(dim=0)) <= 2


def test_targets_are_training_samples_in_the_range_of_the_data():
    images = torch.randint(0, 256, (40, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Dataset.of_tensors(train=images, test=images[:1], range=(-1.0, 1.0))
    x = torch.zeros(6, 1, 2, 2)
    _, targets, _ = transport(12, data).sample(Batch(x, x), Step(), nn.Identity())
    rows = {tuple(row.flatten().tolist()) for row in images.float().mul(2 / 255).sub(1)}
    assert all(tuple(target.flatten().tolist()) in rows for target in targets)


def test_samples_are_drawn_anew_at_each_step():
    first, again, later = (
        transport(10).sample(batch(), Step(seed=s, index=i), operator()) for s, i in [(1, 0), (1, 0), (1, 1)]
    )
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, later.targets)


def test_a_plan_is_used_up_pair_by_pair_before_there_is_another():
    f, source = Recording(operator()), transport(20)
    steps = [source.sample(batch(6), Step(seed=1, index=i), f) for i in range(7)]
    assert [len(seen) for seen in f.seen] == [20, 20, 20]  # at steps 0, 3 and 6: twice two pairs are left over
    everything = torch.cat([points for points, *_ in steps])
    assert len(everything.unique(dim=0)) == 7 * 6
    whole = transport(20).sample(batch(18), Step(seed=1), operator())
    assert torch.equal(torch.cat([points for points, *_ in steps[:3]]), whole.points)
    assert torch.equal(torch.cat([targets for _, targets, _ in steps[:3]]), whole.targets)


@pytest.mark.parametrize("debiased", [False, True])
def test_a_run_goes_on_with_the_plan_it_has_whatever_f_has_become(debiased):
    source, f = transport(20, debiased=debiased), operator()
    source.sample(batch(6), Step(seed=1, index=0), f)
    resumed = transport(20, debiased=debiased)
    resumed.load_state_dict(source.state_dict())
    other = Recording(nn.Identity())
    points, targets, _ = resumed.sample(batch(6), Step(seed=1, index=1), other)
    assert other.seen == []
    expected = source.sample(batch(6), Step(seed=1, index=1), f)
    assert torch.equal(points, expected.points)
    assert torch.equal(targets, expected.targets)


def test_debiased_targets_are_the_formula_and_the_further_plan_is_the_shortest():
    """x + f(z) - f(z'), with x and z of the plain plan; against all permutations of the further noises."""
    plain = transport(6).sample(batch(6), Step(seed=2), operator())
    f = Recording(operator())
    debiased = transport(6, debiased=True).sample(batch(6), Step(seed=2), f)
    assert torch.equal(debiased.points, plain.points)
    y, others = f.inside(debiased.points), f.inside(f.seen[1])
    assert not torch.equal(*f.seen)
    found = plain.targets + y - debiased.targets  # f(z')
    cost = torch.cdist(y, others)
    shortest = min(permutations(range(6)), key=lambda order: sum(cost[i, j].item() for i, j in enumerate(order)))
    torch.testing.assert_close(found, others[list(shortest)])


def test_debiased_targets_are_as_precise_as_the_run():
    table = {
        "dataset": {"name": "gaussian", "shape": [8]},
        "model": {"name": "mlp", "width": 16, "depth": 1},
        "source": {"name": "transport", "pool": 16, "debiased": True},
        "training": {"steps": 1, "batch_size": 8, "dtype": "float64"},
    }
    (source,) = assemble(resolve(table)).objective.sources
    assert (source.aims.dtype, source.aims.shape) == (torch.float64, (16, 8))


@pytest.mark.long
def test_debiased_targets_do_not_shrink_what_has_the_distribution_of_the_data():
    """On normal data with f = identity the best linear prediction of the target from f(z) should be f(z) itself: small pools
    draw it inwards, which is what makes generated images blurred."""
    data = Dataset.of_tensors(
        train=torch.randn(20_000, 5, generator=torch.Generator().manual_seed(4)), test=torch.zeros(1, 5)
    )
    slopes = {}
    for debiased in (False, True):
        source = transport(16, data, debiased=debiased)
        drawn = [source.sample(batch(16), Step(seed=5, index=i), nn.Identity()) for i in range(400)]
        z, t = torch.cat([p.points for p in drawn]), torch.cat([p.targets for p in drawn])
        slopes[debiased] = ((z * t).sum() / z.square().sum()).item()
    assert slopes[False] < 0.8
    assert slopes[True] == pytest.approx(1.0, abs=0.05)


def test_the_preflight_spreads_the_cost_of_a_plan_over_its_steps():
    table = {
        "dataset": {"name": "gaussian", "shape": [8]},
        "model": {"name": "mlp", "width": 16, "depth": 1},
        "source": {"name": "transport"},
        "training": {"steps": 1, "batch_size": 8},
    }

    def flops(pool: int) -> int:
        experiment = resolve(table, [f"source.pool={pool}"])
        parts = assemble(experiment)
        return preflight(experiment, parts, device=torch.device("cpu")).flops_per_step

    assert flops(8) == flops(64)


def test_a_pool_smaller_than_the_global_batch_is_refused():
    with pytest.raises(BadInput, match="a pool of 7 cannot serve a batch of 8") as error:
        transport(7).sample(batch(4), Step(shard=Shard(micro=1, micros=2)), operator())
    assert error.value.next_step == "set 'pool' of the source to 8"


def test_a_copy_shares_the_data_instead_of_copying_them():
    source = transport(10)
    twin = copy.deepcopy(source)
    assert twin._samples_at is source._samples_at
    assert torch.equal(
        twin.sample(batch(), Step(), operator()).targets, source.sample(batch(), Step(), operator()).targets
    )


# -- several processes --------------------------------------------------------------------------------------------------

POOLS = [50, 51, 1]


def _one_of_two(rank: int, folder: Path) -> None:
    """What each of two processes does: choose for its half of the batch."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    rows = slice(4 * rank, 4 * rank + 4)
    b, f = batch(8), Recording(operator())
    part = Batch(b.input[rows], b.target[rows])
    step = Step(seed=1, shard=Shard(rank=rank, world=2))
    chosen = [ImleSource(pool, GaussianSource(1.0)).sample(part, step, f).points for pool in POOLS]
    chosen.append(transport(9).sample(part, step, f).points)
    chosen.append(transport(9, debiased=True).sample(part, step, f).targets)
    chosen.append(transport(9, debiased=True, temperatures=[0.1], ema=0.9).sample(part, step, f).targets)
    torch.save((chosen, [len(z) for z in f.seen]), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.long
def test_two_processes_choose_as_one_does_and_share_the_work(tmp_path: Path):
    """Each is a fresh interpreter: a fork of a process whose OpenMP threads run may hang."""
    command = [sys.executable, __file__, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    (first, seen), (second, seen_too) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert seen == seen_too == [25, 26, 1, *[5] * 5]
    sources = [*(ImleSource(pool, GaussianSource(1.0)) for pool in POOLS), transport(9), transport(9, debiased=True)]
    sources.append(transport(9, debiased=True, temperatures=[0.1], ema=0.9))
    for i, (source, *parts) in enumerate(zip(sources, first, second, strict=True)):
        expected = source.sample(batch(8), Step(seed=1), operator())
        whole = expected.points if i < 4 else expected.targets
        rounding = [0, 0, 0, 0, 1e-6, 1e-5][i]  # f in batches of other sizes, then sums, then an iteration over them
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=rounding)


if __name__ == "__main__":
    _one_of_two(int(sys.argv[2]), Path(sys.argv[1]))


def spread_out(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 20, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (spread_out(64, 0), spread_out(64, 1)),
        (spread_out(64, 0), 1e-3 * spread_out(64, 1)),
        (spread_out(64, 0), spread_out(1, 1).expand(64, -1)),
        (1e4 * spread_out(64, 0), 1e4 * spread_out(64, 0).flip(0)),
        (spread_out(1, 0), spread_out(1, 1)),
    ],
    ids=["two draws", "nearly one point", "one point", "a permutation", "one pair"],
)
def test_the_plan_is_as_short_as_without_the_start_that_makes_it_fast(x, y):
    length = torch.cdist(x, y)
    order = assignment(length)
    assert sorted(order.tolist()) == list(range(len(x)))
    shortest = length[linear_sum_assignment(length.numpy())].sum()
    torch.testing.assert_close(length[range(len(x)), order].sum(), shortest, rtol=1e-5, atol=0.0)
