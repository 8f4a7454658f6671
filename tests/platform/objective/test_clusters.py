"""Clusters of samples found without labels: what is found, kept on disk and refused, and a run under them as condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import idemlab
from idemlab import BadInput, Batch, Dataset, TensorRows
from idemlab.objective import clusters
from idemlab.objective.clusters import NEIGHBOURS, clusters_of, communities
from idemlab.objective.data import build_dataset, classes_of, clustered
from idemlab.objective.given import resolved
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
    """How many clusters have points of more than one piece."""
    return sum(len(of[found == each].unique()) > 1 for each in range(int(found.max()) + 1))


def data(**changes: Any) -> Dataset:
    (x, of), (other, _) = blobs(0), blobs(1)
    made = {"train": TensorRows(x.float(), label=of), "test": TensorRows(other.float()), "shape": (6,)}
    return Dataset(**{**made, **changes})


class OneByOne:
    """A map-style set that is not in memory."""

    def __init__(self, inside: TensorRows) -> None:
        self.inside = inside

    def __len__(self) -> int:
        return len(self.inside)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.inside.__getitems__(indices)


# -- what is found --------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([3, 60]), st.floats(0.01, 100))
def test_no_cluster_has_points_of_two_distant_pieces(seed: int, dimension: int, scale: float) -> None:
    x, of = blobs(seed, dimension)
    turn = torch.linalg.qr(torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(seed)).double()).Q
    found = communities(scale * x @ turn + 7)
    assert mixed(found, of) == 0


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


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_the_samples_may_be_bytes_or_numbers_in_memory_or_not(kind: torch.dtype) -> None:
    x, of = blobs(0)
    rows = TensorRows((x + 10).clamp(0, 255).to(kind).view(-1, 2, 3))
    found = clusters_of(rows, "mine")
    assert mixed(found, of) == 0
    assert torch.equal(found, clusters_of(OneByOne(rows), "mine"))


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
    rows.input[5, 2] += 1e-3
    clusters_of(rows, "mine")
    assert calls == [len(found)] * 2


def test_without_a_folder_to_write_to_they_are_found_all_the_same(cache: Path) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file")
    assert len(clusters_of(TensorRows(blobs(0)[0]), "mine")) == sum(SIZES)


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_faults_of_the_data_are_told() -> None:
    x = blobs(0)[0]
    with pytest.raises(BadInput, match="mine has 61 training samples, too few"):
        clusters_of(TensorRows(x[: 2 * NEIGHBOURS + 1]), "mine")
    with pytest.raises(BadInput, match="the training samples of mine form one cluster"):
        clusters_of(TensorRows(x[:1].expand(70, -1)), "mine")
    x[203, 1] = torch.nan
    with pytest.raises(BadInput, match="sample 203 of mine has a value that is not finite"):
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
def test_training_samples_have_their_cluster_and_test_samples_nothing(one_by_one: bool) -> None:
    given = data()
    if one_by_one:
        given = data(train=OneByOne(given.train))  # type: ignore[arg-type]
    experiment, _ = resolved(table(dataset=given), ["dataset.condition=clusters"], {}, idemlab.installed())
    built = build_dataset(experiment)
    found = clusters_of(given.train, "mine")
    batch = built.train.__getitems__([5, 3])
    assert batch.condition is not None
    assert torch.equal(batch.condition, found[[5, 3]])
    assert batch.label is not None, "the labels stay what they are"
    assert built.test.__getitems__([0]).condition is None
    assert classes_of(experiment, built) == built.conditions == int(found.max()) + 1
    assert "found without labels" in built.description[-1]


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
    torch.testing.assert_close(f(y), y, rtol=0, atol=1e-4)
    every = torch.stack([f(x, torch.full((len(x),), c)) for c in range(run.classes or 0)])
    assert bool((every == y).flatten(2).all(2).any(0).all()), "each output is that of one cluster"


def test_an_operator_that_needs_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="condition = clusters, the operator is used without a class"):
        idemlab.train(table(enforcer={"name": "gradient"}), tmp_path / "run", overrides=["dataset.condition=clusters"])
