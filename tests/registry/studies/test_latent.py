"""The study `latent`, on operators whose bottleneck, drift and memory are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Batch, Dataset, TensorRows
from idemlab.studies.study import Findings, Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import latent
from idemlab_registry.studies.trained import Trained, relative_change


class Projection(nn.Module):
    """x -> (1 + ε) times its orthogonal projection on the first entries of the flattened image."""

    def __init__(self, rank: int, growth: float = 0.0) -> None:
        super().__init__()
        self.rank, self.growth = rank, growth

    def encode(self, x: Tensor) -> Tensor:
        return (1 + self.growth) * x.flatten(1)[:, : self.rank]

    def decode(self, h: Tensor) -> Tensor:
        return nn.functional.pad(h, (0, 64 - self.rank)).view(-1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def of(operator: nn.Module, images: Tensor) -> Trained:
    experiment = idemlab.resolve("generation-imle", ["dataset.name=digits"])
    labels = torch.arange(len(images)) % 10
    rows = TensorRows(images, label=labels)
    data = Dataset(train=rows, test=TensorRows(images[::2], label=labels[::2]), shape=(1, 8, 8), range=(-1.0, 1.0))
    return Trained(experiment, data, operator)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_projection_stays(images: Tensor) -> None:
    findings = Findings()
    latent._drift(of(Projection(20), images), {"noise": images}, findings)
    (claim,) = findings.claims
    assert claim.holds is True
    assert findings.tables["drift"]["distance"].max() == 0
    assert len(findings.tables["drift"]) == 50


def test_what_grows_drifts_by_as_much(images: Tensor) -> None:
    findings = Findings()
    latent._drift(of(Projection(20, growth=0.01), images), {"noise": images}, findings)
    (claim,) = findings.claims
    assert claim.holds is False
    table = findings.tables["drift"].set_index("k")
    scale = relative_change(torch.zeros(120, 20), images.flatten(1)[:, :20], spread_of=images.flatten(1)[:, :20])
    assert table["distance"][3] == pytest.approx((1.01**2 - 1) * scale, rel=1e-4)
    assert table["spread"][50] == pytest.approx(1.01**49, rel=1e-4)


def test_the_bottleneck_has_the_dimension_of_the_codes(images: Tensor) -> None:
    findings = Findings()
    trained = of(Projection(20), images)
    latent._bottleneck(trained, images, torch.arange(120) % 10, trained.apply(images), findings)
    data, generated = findings.tables["bottleneck"].to_dict("records")
    assert data["dimension"] == 20
    assert data["components for 90 % of variance"] == generated["components for 90 % of variance"] <= 20
    assert generated["distance of means / standard deviation"] == pytest.approx(0, abs=1e-6)


def test_a_model_without_a_bottleneck_is_refused(images: Tensor) -> None:
    with pytest.raises(BadInput, match="has no bottleneck"):
        latent._codes(of(nn.Identity(), images), images)


def test_paths_of_a_linear_map_are_even(images: Tensor) -> None:
    findings = Findings()
    latent._paths(of(Projection(20), images), images, torch.arange(120) % 10, images, findings)
    table = findings.tables["paths"]
    straight = table[table["path"] != "noise"]
    assert straight["unevenness"].tolist() == pytest.approx([1] * 6, rel=1e-4)
    assert table["relative error"].max() == 0


def test_an_arc_keeps_the_norm_and_meets_both_ends(images: Tensor) -> None:
    a, b = images[0] / images[0].norm(), images[1] / images[1].norm()
    arc = latent._arc(a, b, torch.linspace(0, 1, 7))
    assert arc.flatten(1).norm(dim=1).tolist() == pytest.approx([1] * 7, rel=1e-5)
    torch.testing.assert_close(arc[0], a)
    torch.testing.assert_close(arc[-1], b)


@pytest.mark.parametrize("labels", [torch.tensor([3, 3, 3, 1, 1, 4, 4, 5, 5]), None])
def test_pairs_are_of_different_classes(labels: Tensor | None) -> None:
    pairs = latent._pairs(labels)
    assert len(pairs) == 3
    for i, j in pairs:
        assert i != j
        assert labels is None or labels[i] != labels[j]


def test_copies_of_training_images_are_found_out(images: Tensor) -> None:
    trained = of(nn.Identity(), images[:60])
    findings = Findings()
    latent._memory(trained, images[60:], images[:60], findings)
    (claim,) = findings.claims
    assert claim.holds is False
    assert findings.tables["memory"].set_index("images")["median"]["f(z), z noise"] == pytest.approx(0, abs=0.02)


def test_new_images_are_no_copies(images: Tensor) -> None:
    findings = Findings()
    latent._memory(of(nn.Identity(), images[:60]), images[60:90], images[90:], findings)
    assert findings.claims[0].holds is True


def test_nearest_training_images_against_all_pairs(images: Tensor) -> None:
    points = images[:7] + 0.1
    distance, nearest = of(nn.Identity(), images).nearest_training(points)
    apart = (points.unsqueeze(1) - images.unsqueeze(0)).flatten(2).norm(dim=2)
    torch.testing.assert_close(distance, apart.min(1).values, rtol=1e-4, atol=1e-4)
    assert nearest.equal(images[apart.argmin(1)])


def test_test_images_are_evenly_spaced(images: Tensor) -> None:
    batch: Batch = of(nn.Identity(), images).test(4)
    assert batch.input.equal(images[[0, 30, 60, 90]])


@pytest.mark.long
def test_all_of_it_on_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "_APPLIED", 5)  # each of them to a thousand images
    monkeypatch.setattr(latent, "_SHOWN", (1, 2, 3, 5))
    overrides = [
        "dataset.name=digits", "model.channels=4", "model.latent=8", "source.0.pool=8", "training.steps=2",
        "training.batch_size=8", "evaluation.points=20", "evaluation.rank_points=0", "evaluation.metrics=[]",
    ]  # fmt: skip
    run = idemlab.train("generation-projector", tmp_path / "run", overrides=overrides)
    trial = Trial(
        number=0, values={}, seed=0, state="complete", error="", verdict="constant", metrics={}, steps=2, flops=1.0,
        seconds=1.0, path=run.path,
    )  # fmt: skip
    results = {"operator": Results((trial,), (), tmp_path)}
    findings = latent.examine(Material(results, True, lambda line: None))
    assert set(findings.figures) == {"bottleneck", "paths", "drift", "drifting", "nearest", "memory"}
    assert set(findings.captions) == set(findings.figures)
    assert set(findings.tables) == {"bottleneck", "paths", "drift", "memory"}
    assert len(findings.claims) == 2
    assert "small version" in findings.text


def test_nothing_completed_is_said() -> None:
    assert "No trial" in latent.examine(Material({}, False, lambda line: None)).text


def test_the_sweeps_resolve() -> None:
    study = latent.study()
    for sweep in (*study.sweeps.values(), *study.quick.values()):
        assert sweep.resolve(sweep.settings()[0]).model.name == "autoencoder"
