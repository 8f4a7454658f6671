"""Clusters of samples found without labels: what is found, kept on disk and refused, and a run under them as condition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import idemlab
from idemlab import BadInput, Dataset, Failure, Step, TensorRows
from idemlab.objective import clusters
from idemlab.objective.clusters import NEIGHBOURS, clusters_of, communities
from idemlab.objective.data import build_dataset, classes_of, clustered, clusters_hash
from idemlab.objective.engines import Single
from idemlab.objective.given import resolved
from idemlab.objective.parts import assemble, build_inputs
from idemlab.runs.run import Run

SIZES = (120, 90, 60)
UNION = {"name": "hybrid", "enforcers": [{"name": "section", "rank": 2}, {"name": "union"}]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clusters"


def blobs(seed: int, dimension: int = 6, sizes: tuple[int, ...] = SIZES) -> tuple[Tensor, Tensor]:
    """Points around distant places, in random order, and the place of each."""
    draw = torch.Generator().manual_seed(seed)
    of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[
        torch.randperm(sum(sizes), generator=draw)
    ]
    places = 30 * torch.eye(len(sizes), dimension)
    return (places[of] + torch.randn(len(of), dimension, generator=draw)).double(), of


def mixed(found: Tensor, of: Tensor) -> int:
    """How many clusters have points of more than one piece. The clusters are few, and each has its points."""
    assert 2 <= int(found.max()) + 1 <= len(of) / 15
    assert torch.bincount(found).min() > NEIGHBOURS
    return sum(len(of[found == each].unique()) > 1 for each in range(int(found.max()) + 1))


def data(**changes: Any) -> Dataset:
    (x, of), (other, _) = blobs(0), blobs(1)
    made = {"train": TensorRows(x.float(), label=of), "test": TensorRows(other.float()), "shape": (6,)}
    return Dataset(**{**made, **changes})


# -- what is found --------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([3, 60]), st.floats(0.01, 100))
def test_no_cluster_has_points_of_two_distant_pieces(seed: int, dimension: int, scale: float) -> None:
    x, of = blobs(seed, dimension)
    turn = torch.linalg.qr(torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(seed)).double()).Q
    found = communities(scale * x @ turn + 7)
    assert mixed(found, of) == 0


def test_the_edges_weigh_by_the_share_of_common_neighbours() -> None:
    x = blobs(0, sizes=(70,))[0]
    apart = torch.cdist(x, x).fill_diagonal_(torch.inf)
    near = clusters._nearest(x, x, own=True)
    assert torch.equal(near, apart.argsort(1)[:, :NEIGHBOURS])
    own = [set(row) for row in near.tolist()]
    shares = [[len(own[i] & own[j]) / len(own[i] | own[j]) for j in near[i].tolist()] for i in range(70)]
    assert clusters._jaccard(near).tolist() == shares


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(
            torch.randint(0, 4, (400, 6), generator=torch.Generator().manual_seed(0)).double(), id="whole numbers"
        ),
        pytest.param(blobs(0, sizes=(20, 20, 20))[0].repeat(20, 1), id="each point twenty times"),
    ],
)
def test_rounding_does_not_decide_between_equal_distances(x: Tensor) -> None:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    assert torch.equal(communities(x), communities(x * (1 + 2e-16 * noise)))


def test_a_distant_sample_hides_no_cluster() -> None:
    x, of = blobs(0)
    for far in (1e5, 1e9):
        found = communities(torch.cat([x, torch.full((1, 6), far).double()]))[:-1]
        assert sum(len(of[found == each].unique()) > 1 for each in found.unique()) == 0


@pytest.mark.parametrize("count", [61, 62, 70, 200, 300, 500, 1000])
def test_points_that_are_all_equal_are_one_cluster(count: int) -> None:
    assert int(communities(torch.ones(count, 3).double()).max()) == 0


def test_clusters_are_ordered_by_size_and_numbered_without_gaps() -> None:
    sizes = torch.bincount(communities(blobs(0)[0]))
    assert sizes.min() > NEIGHBOURS
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


def test_two_rings_one_inside_the_other_are_told_apart_although_their_means_agree() -> None:
    angle = torch.linspace(0, 6.2831, 401, dtype=torch.float64)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    of = torch.arange(800) // 400
    assert mixed(communities(torch.cat([ring, 6 * ring])), of) == 0


def test_a_piece_of_few_points_joins_the_nearest() -> None:
    x, of = blobs(0, sizes=(120, 90, NEIGHBOURS // 2))
    x[of == 2] = x[of == 1][: NEIGHBOURS // 2] + 9
    found = communities(x)
    assert torch.bincount(found).min() > NEIGHBOURS
    (joined,) = found[of == 2].unique()
    assert bool((found[of == 1] == joined).any())


def test_what_does_not_fit_into_the_graph_follows_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    x, of = blobs(0)
    monkeypatch.setattr(clusters, "_NODES", 150)
    found = communities(x)
    assert found.shape == of.shape
    assert mixed(found, of) == 0


# -- of a set of data -----------------------------------------------------------------------------------------------------


def test_distances_are_taken_in_the_leading_principal_components() -> None:
    x, of = blobs(0)
    turn = torch.linalg.qr(torch.randn(90, 90, generator=torch.Generator().manual_seed(2)).double()).Q
    noise = 0.5 * torch.randn(len(x), 84, generator=torch.Generator().manual_seed(3)).double()
    wide = torch.cat([x, noise], 1) @ turn + 1000
    points = clusters._projected(TensorRows(wide))
    assert points.shape == (len(x), 50)
    assert points.mean(0).abs().max() < 1e-12
    assert mixed(clusters_of(TensorRows(1e200 * wide), "mine"), of) == 0
    apart = torch.cdist(x, x)
    found = torch.cdist(points, points) * wide.abs().max()
    assert torch.corrcoef(torch.stack([apart.flatten(), found.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_the_samples_may_be_bytes_or_numbers_in_memory_or_not(
    kind: torch.dtype, elsewhere: Callable[[Any], Any]
) -> None:
    x, of = blobs(0)
    rows = TensorRows((x + 10).clamp(0, 255).to(kind).view(-1, 2, 3))
    found = clusters_of(rows, "mine")
    assert mixed(found, of) == 0
    assert torch.equal(found, clusters_of(elsewhere(rows), "mine"))


def test_targets_are_clustered_not_inputs() -> None:
    x, of = blobs(0)
    assert mixed(clusters_of(TensorRows(torch.randn(len(x), 6), target=x), "mine"), of) == 0


def test_what_was_found_is_kept_on_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TensorRows(blobs(0)[0])
    found = clusters_of(rows, "mine")
    (file,) = cache.glob("*.safetensors")
    calls = []
    monkeypatch.setattr(clusters, "communities", lambda points: calls.append(len(points)) or found)
    assert torch.equal(clusters_of(rows, "mine"), found)
    assert calls == []
    file.write_bytes(b"damaged")
    assert torch.equal(clusters_of(rows, "mine"), found)
    assert calls == [len(found)]
    for other in (found + (found == found.max()), found.max() - found, found[1:]):
        save_file({"cluster": other}, file)
        assert torch.equal(clusters_of(rows, "mine"), found)
    assert calls == [len(found)] * 4
    rows.input[5, 2] += 1e-3
    clusters_of(rows, "mine")
    assert calls == [len(found)] * 5


def test_without_a_folder_to_write_to_they_are_found_all_the_same(cache: Path) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file")
    assert len(clusters_of(TensorRows(blobs(0)[0]), "mine")) == sum(SIZES)


def test_without_a_home_they_are_kept_where_files_are_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEMLAB_CACHE", "~nobody-of-this-name/cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clusters_of(TensorRows(blobs(0)[0]), "mine")
    assert len(list((tmp_path / "idemlab" / "clusters").glob("*.safetensors"))) == 1


@pytest.mark.parametrize("error", [SafetensorError("File too large"), OSError(28, "No space left on device")])
def test_on_a_full_disk_they_are_found_once_and_not_kept(
    error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(*given: object) -> None:
        raise error

    find = communities
    monkeypatch.setattr(clusters, "save_file", failing)
    monkeypatch.setattr(clusters, "communities", lambda points: calls.append(len(points)) or find(points))
    assert len(clusters_of(TensorRows(blobs(0)[0]), "mine")) == sum(SIZES)
    assert calls == [sum(SIZES)]
    assert list(cache.glob("*.safetensors")) == []


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_faults_of_the_data_are_told() -> None:
    x = blobs(0)[0]
    with pytest.raises(BadInput, match="the 61 training samples of mine have no two clusters of more than 30"):
        clusters_of(TensorRows(x[: 2 * NEIGHBOURS + 1]), "mine")
    with pytest.raises(BadInput, match="the 300 training samples of mine have no two clusters"):
        clusters_of(TensorRows(x[:1].expand(300, -1)), "mine")
    x[203, 1] = torch.nan
    with pytest.raises(BadInput, match="training sample 203 of mine has a value that is not finite"):
        clusters_of(TensorRows(x), "mine")


@pytest.mark.parametrize("side", ["train", "test"])
def test_data_with_conditions_of_their_own_are_refused(side: str) -> None:
    rows = TensorRows(blobs(0)[0], condition=torch.zeros(sum(SIZES), dtype=torch.long))
    with pytest.raises(BadInput, match=f"mine gives conditions of its own, in {side}"):
        clustered(data(**{side: rows}), "mine")


# -- as the condition -----------------------------------------------------------------------------------------------------


def table(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": data(),
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "enforcer": UNION,
        "training": {"steps": 4, "batch_size": 12, "log_every": 2},
        "evaluation": {"every": 4, "points": 45, "rank_points": 0, "metrics": ["reconstruction-error"]},
    } | changes


@pytest.mark.parametrize("one_by_one", [False, True])
def test_training_samples_have_their_cluster_and_test_samples_nothing(
    one_by_one: bool, elsewhere: Callable[[Any], Any]
) -> None:
    given = data()
    if one_by_one:
        given = data(train=elsewhere(given.train))
    experiment, _ = resolved(table(dataset=given), ["dataset.condition=clusters"], {}, idemlab.installed())
    built = build_dataset(experiment)
    found = clusters_of(given.train, "mine")
    batch = built.train.__getitems__([5, 3])
    assert batch.condition is not None
    assert torch.equal(batch.condition, found[[5, 3]])
    assert batch.label is not None, "the labels stay what they are"
    assert built.test.__getitems__([0]).condition is None
    assert classes_of(experiment, built) == built.conditions == int(found.max()) + 1
    assert "clusters of the training samples are the condition in training" in built.description[-1]


def test_a_data_set_that_has_no_labels_has_clusters() -> None:
    experiment, _ = resolved(
        table(dataset={"name": "torus", "train": 400, "test": 100}),
        ["dataset.condition=clusters"],
        {},
        idemlab.installed(),
    )
    assert (build_dataset(experiment).conditions or 0) > 1


def test_a_run_is_trained_under_clusters_and_used_without(tmp_path: Path) -> None:
    overrides = ["dataset.condition=clusters", "training.steps=40", "optimizer.lr=0.003"]
    run = idemlab.train(table(), tmp_path / "run", overrides=overrides, progress=False)
    assert not run.needs_class
    f = idemlab.load(Run(run.path))
    x = blobs(1)[0].float()
    y = f(x)
    torch.testing.assert_close(f(y), y, rtol=0, atol=1e-5)
    every = torch.stack([f(x, torch.full((len(x),), c)) for c in range(run.classes or 0)])
    assert bool((every == y).flatten(2).all(2).any(0).all()), "each output is that of one cluster"


def test_a_run_is_not_resumed_under_other_clusters(cache: Path, tmp_path: Path) -> None:
    overrides = ["dataset.condition=clusters", "training.checkpoint_every=2"]
    run = idemlab.train(table(), tmp_path / "run", overrides=overrides, progress=False)
    (file,) = cache.glob("*.safetensors")
    found = load_file(file)["cluster"]
    first, second = (found == 0).nonzero()[0], (found == 1).nonzero()[0]
    swapped = found.clone()
    swapped[first], swapped[second] = 1, 0
    run.certificate_file.unlink()
    for others in (swapped, found.clamp_max(int(found.max()) - 1)):
        order = torch.bincount(others).argsort(descending=True, stable=True).argsort()
        save_file({"cluster": order[others]}, file)
        with pytest.raises(Failure, match="the checkpoint was not written under these clusters"):
            idemlab.train(table(), run.path, overrides=overrides, resume=True, progress=False)
    save_file({"cluster": found}, file)
    assert idemlab.train(table(), run.path, overrides=overrides, resume=True, progress=False).certificate is not None


@pytest.mark.parametrize("difference", [0, 1])
def test_processes_must_have_found_the_same(difference: int) -> None:
    class Two(Single):
        def rows(self, t: Tensor) -> Tensor:
            return torch.stack([t, t + difference])

    experiment, _ = resolved(table(), ["dataset.condition=clusters"], {}, idemlab.installed())
    built, engine = build_dataset(experiment), Two(world=2)
    if difference:
        with pytest.raises(Failure, match="the processes found different clusters"):
            clusters_hash(experiment, built, engine)
    else:
        assert clusters_hash(experiment, built, engine) == clusters_hash(experiment, built, Single())


def test_pictures_and_exports_need_no_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "communities", lambda points: 1 / 0)
    experiment, _ = resolved(table(), ["dataset.condition=clusters"], {}, idemlab.installed())
    assert build_inputs(experiment).dataset.conditions is None


@pytest.mark.parametrize("classes", [None, 2, 40])
def test_imle_divides_its_pool_among_the_clusters(classes: int | None) -> None:
    source = {"name": "imle", "pool": 64}
    x, of = blobs(0)
    labels = None if classes is None else of % classes
    experiment, _ = resolved(
        table(source=source, dataset=data(classes=classes, train=TensorRows(x.float(), label=labels))),
        ["dataset.condition=clusters"],
        {},
        idemlab.installed(),
    )
    parts = assemble(experiment)
    batch = parts.dataset.train.__getitems__(list(range(90)))
    points = parts.objective.sources[0].sample(batch, Step(seed=0), parts.objective.operator.eval())
    assert batch.condition is not None
    drawn = [{tuple(z.tolist()) for z in points.points[batch.condition == c]} for c in batch.condition.unique()]
    assert all(a.isdisjoint(b) for i, a in enumerate(drawn) for b in drawn[:i])


@pytest.mark.parametrize("split", ["test", "validation"])
def test_it_does_not_matter_how_many_labels_there_are(split: str) -> None:
    for classes in (2, 40):
        x, of = blobs(0)
        given = data(train=TensorRows(x.float(), label=of % classes), classes=classes)
        overrides = ["dataset.condition=clusters", f"evaluation.split={split}"]
        experiment, _ = resolved(table(dataset=given, evaluation={"metrics": []}), overrides, {}, idemlab.installed())
        parts = assemble(experiment)
        assert parts.objective.operator.classes == parts.dataset.conditions not in (2, 40)
        assert parts.dataset.classes == classes


def test_an_operator_that_needs_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="condition = clusters, the operator is used without a class"):
        idemlab.train(table(enforcer={"name": "gradient"}), tmp_path / "run", overrides=["dataset.condition=clusters"])
