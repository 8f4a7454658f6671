"""Judges whose weights are shipped: a first evaluation trains nothing, and figures are the same on every machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from idemlab import Dataset, installed
from idemlab_metrics import cache, cnn, shipped
from idemlab_metrics.cnn import Classifier, Cnn


@pytest.fixture
def digits() -> Dataset:
    made: Dataset = installed().check("dataset", {"name": "digits"}, "[dataset]").build()
    return made


@pytest.fixture
def untrained(monkeypatch, tmp_path) -> None:
    """An empty cache, and a training that takes no time."""
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cnn, "_known", {})
    monkeypatch.setattr(Cnn, "trained", lambda self: Classifier(1, 10))


@pytest.mark.usefixtures("untrained")
def test_the_judge_of_digits_is_shipped_and_knows_them(digits):
    assert Cnn(digits).facts["classifier_accuracy"] >= 0.975


@pytest.mark.usefixtures("untrained")
def test_a_damaged_one_is_not_used(digits, monkeypatch, tmp_path):
    name = Cnn(digits).name
    folder = tmp_path / name
    folder.mkdir()
    for file in (cache.SHIPPED / name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(cache, "SHIPPED", tmp_path)
    assert cache.kept(name) is not None
    (folder / "weights.safetensors").write_bytes(b"")
    assert cache.kept(name) is None


def test_all_of_them_take_less_than_two_megabytes():
    files = [file for file in cache.SHIPPED.rglob("*") if file.is_file()]
    assert {file.name for file in files} == {"card.json", "weights.safetensors"}
    assert sum(file.stat().st_size for file in files) < 2_000_000


@pytest.mark.usefixtures("untrained")
def test_the_recipe_makes_one_in_place_of_an_old_one(digits, tmp_path, capsys):
    place = tmp_path / "judges" / Cnn(digits).name
    place.mkdir(parents=True)
    (place / "card.json").write_text("old")
    assert shipped.main(["digits"], tmp_path / "judges") == 0
    assert str(place) in capsys.readouterr().out
    assert sorted(file.name for file in place.iterdir()) == ["card.json", "weights.safetensors"]
    assert "old" not in (place / "card.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit"], "digits"),
        (["digits", "root"], "KEY=VALUE"),
        (["gaussian"], "labels"),
        (["digits", "roof=x"], "roof"),
    ],
)
def test_what_has_no_judge_is_refused(arguments: list[str], message: str, tmp_path: Path, capsys):
    assert shipped.main(arguments, tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
def test_a_place_that_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "judges").write_text("a file")
    assert shipped.main(["digits"], tmp_path / "judges") == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_an_old_one_stays_if_the_training_fails(digits, monkeypatch, tmp_path):
    old = tmp_path / Cnn(digits).name / "card.json"
    old.parent.mkdir()
    old.write_text("old")

    def broken(self: Cnn) -> Classifier:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cnn, "trained", broken)
    with pytest.raises(KeyboardInterrupt):
        shipped.main(["digits"], tmp_path)
    assert old.read_text() == "old"
