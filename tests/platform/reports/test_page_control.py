"""The control beside a run in its report."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

from idemlab import BadInput, Run, train, write_report

_page = runpy.run_path(str(Path(__file__).with_name("page.py")))
IMAGES, Page, unfinish = _page["IMAGES"], _page["Page"], _page["unfinish"]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(IMAGES | {"enforcer": {"name": "none"}}, tmp_path_factory.mktemp("controls") / "control").path


def test_the_control_beside_a_run_is_found(blank: Path, control: Path) -> None:
    assert "control" not in [attributes.get("id") for _, attributes in Page(write_report(blank)).tags]
    shutil.copytree(control, blank.parent / "without")
    other = Path(shutil.copytree(control, blank.parent / "nearer than another", dirs_exist_ok=True))
    text = (blank.parent / "without" / "experiment.toml").read_text()
    (blank.parent / "without" / "experiment.toml").write_text(text.replace("log_every = 2", "log_every = 3"))
    far = Path(shutil.copytree(control, blank.parent / "other model"))
    (far / "experiment.toml").write_text(text.replace("width = 8", "width = 9"))
    page = Page(write_report(blank))
    assert "The control nearer than another enforces nothing" in page.words
    assert "Their experiments differ only in the enforcer." in page.words
    own, others = (json.loads((path / "certificate.json").read_text())["inputs"] for path in (blank, other))
    rows = {(row[0], row[1]): row[2:] for row in page.cells("control")[1:]}
    for name in own:
        run, control_, factor = rows[name, "relative error"]
        assert float(run) == pytest.approx(own[name]["relative"][0], rel=6e-3)
        assert float(control_) == pytest.approx(others[name]["relative"][0], rel=6e-3)
        assert float(factor.removesuffix(" x")) == pytest.approx(float(control_) / float(run), rel=2e-2)
    assert page.words.count("control f(f(x))") == 2 * 3  # the rows, and their legends


def test_a_control_under_a_condition_is_refused_for_an_operator_without(
    blank: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "classes", property(lambda run: 3 if run.path == control else None))
    with pytest.raises(BadInput, match="takes a condition, and that of the run takes no condition"):
        write_report(blank, control=control)


def test_a_control_has_no_control(control: Path, unplotted: None) -> None:
    shutil.copytree(control, control.parent / "second")
    assert "Comparison with the control" not in Page(write_report(control)).words


def test_a_control_can_be_given(blank: Path, control: Path, trained: dict[str, Path]) -> None:
    assert "Comparison with the control" in Page(write_report(blank, control=control)).words
    with pytest.raises(BadInput, match="is the run itself"):
        write_report(blank, control=blank)
    with pytest.raises(BadInput, match="has samples of shape"):
        write_report(blank, control=trained["vectors"])
    with pytest.raises(BadInput, match="holds no run"):
        write_report(blank, control=blank.parent)
    begun = Path(shutil.copytree(control, blank.parent / "begun"))
    unfinish(begun)
    with pytest.raises(BadInput, match="is not finished"):
        write_report(blank, control=begun)
    with pytest.raises(BadInput, match="nothing to compare"):
        write_report(begun, control=blank)
