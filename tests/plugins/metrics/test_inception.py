"""Inception: refused without its weights, never fetched, and called FID only with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from idemlab import BadInput, Dataset, Failure
from idemlab_metrics import cache, inception
from idemlab_metrics.features import extractor


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """A torch hub folder of its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_inception_is_refused_without_its_weights_and_never_fetched(hub, monkeypatch, dataset):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    with pytest.raises(BadInput, match="not available") as caught:
        extractor("inception", dataset())
    assert str(hub) in caught.value.expected
    assert "not called FID" in caught.value.next_step


def test_inception_s_weights_must_be_those_of_its_name(hub, dataset):
    inception.inception_weights().write_bytes(b"no weights")
    with pytest.raises(BadInput, match="damaged"):
        extractor("inception", dataset())


@pytest.mark.parametrize(
    "data",
    [
        Dataset.of_tensors(torch.zeros(3, 4), torch.zeros(3, 4), range=(0, 1)),
        Dataset.of_tensors(torch.zeros(3, 2, 4, 4), torch.zeros(3, 2, 4, 4), range=(0, 1)),
        Dataset.of_tensors(torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)),
    ],
    ids=["vectors", "two channels", "no range"],
)
def test_inception_needs_pictures(data):
    with pytest.raises(BadInput, match="three channels"):
        extractor("inception", data)


@pytest.mark.slow
def test_with_its_weights_at_hand_the_distance_is_called_fid(hub, monkeypatch, quarters, images_of):
    from idemlab import Batch, Orbit
    from idemlab_data.vision import torchvision_datasets
    from idemlab_metrics.frechet import FrechetDistance

    torchvision_datasets()
    from torchvision.models.inception import inception_v3

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = inception_v3(weights=None, init_weights=False).eval()
    monkeypatch.setattr(inception, "_FILE", "inception.pth")
    torch.save(network.state_dict(), hub / "inception.pth")
    digest = cache.sha256(hub / "inception.pth")[:8]
    monkeypatch.setattr(inception, "_FILE", f"inception-{digest}.pth")
    (hub / "inception.pth").rename(hub / f"inception-{digest}.pth")
    before = torch.get_rng_state()
    data = Dataset(train=quarters(3, 0), test=quarters(3, 1), shape=(1, 12, 12), range=(-1.0, 1.0))
    metric = FrechetDistance("inception")
    metric.fit(data)
    x = images_of(data, 2)
    with torch.no_grad():
        metric(Orbit(nn.Identity(), x), Batch(x, x))
        values = metric.compute()
        network.fc = nn.Identity()
        unit = nn.functional.interpolate((x + 1) / 2, (299, 299), mode="bilinear", antialias=True).expand(2, 3, -1, -1)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        seen = network((unit - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert list(values) == ["fid_1", "fid_2", "fid_3", "fid_of_test"]
    assert metric.extractor.name == f"inception-{digest}"
    torch.testing.assert_close(metric.extractor(x), seen.double(), atol=1e-5, rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_torchvision_that_cannot_be_imported_is_told(hub, monkeypatch, dataset, images_of):
    content = b"weights"
    monkeypatch.setattr(inception, "_FILE", f"inception-{hashlib.sha256(content).hexdigest()[:8]}.pth")
    inception.inception_weights().write_bytes(content)

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(inception.importlib, "import_module", broken)
    data = dataset()
    with pytest.raises(Failure, match="nms"):
        extractor("inception", data)(images_of(data, 1))
