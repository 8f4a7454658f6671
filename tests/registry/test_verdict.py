"""The verdict page is what the records say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from idemlab import Failure
from idemlab_registry.verdict import RECORDS, page

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_docs_is_made_of_the_records() -> None:
    assert (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8") == page(), (
        "python -m idemlab_registry.verdict docs/verdict.md"
    )


def test_the_summary_stands_first_and_has_the_numbers_of_the_records(tmp_path: Path) -> None:
    """Change one number of a record: the summary changes with it. Take it away: that is noticed."""
    summary, _, lists = page().partition("## How to read this page")
    assert "## Summary" in summary
    assert "| Claim |" not in summary
    assert "| Claim |" in lists
    for record in ("learning-rates", "generation"):
        (folder,) = RECORDS.glob(f"*_{record}")
        (tmp_path / folder.name).mkdir()
        text = (folder / "claims.json").read_text(encoding="utf-8")
        (tmp_path / folder.name / "claims.json").write_text(text, encoding="utf-8")
    file = next(tmp_path.glob("*_learning-rates/claims.json"))
    text = file.read_text(encoding="utf-8")
    assert "1.06 times lower" in page(tmp_path)
    file.write_text(text.replace("matched: 1.06x", "matched: 1.57x"), encoding="utf-8")
    assert "1.57 times lower" in page(tmp_path)
    file.write_text(text.replace("matched: 1.06x", "equal: 1.06x"), encoding="utf-8")
    with pytest.raises(ValueError, match="learning-rates"):
        page(tmp_path)


def test_every_record_of_a_study_can_be_read_and_shown() -> None:
    for file in RECORDS.glob("*/claims.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["claims"]
        assert not content["quick"], "a record is of the whole study"
        readme = (file.parent / "README.md").read_text(encoding="utf-8")
        for figure in (file.parent / "figures").glob("*.png"):
            assert f"figures/{figure.name}" in readme
            assert figure.with_suffix(".svg").is_file()


def test_the_newest_record_counts(tmp_path: Path) -> None:
    claim = {"claim": "It holds.", "paper": "5 x", "ours": "2 x", "controlled": "", "conclusion": "No.", "holds": False}
    for date, ours in (("2026-01-01", "2 x"), ("2026-02-01", "3 x")):
        folder = tmp_path / f"{date}_basin"
        folder.mkdir()
        content = {
            "study": "basin",
            "summary": "Basins.",
            "quick": False,
            "text": "",
            "claims": [claim | {"ours": ours}],
        }
        (folder / "claims.json").write_text(json.dumps(content))
    text = page(tmp_path)
    assert "| It holds. | 5 x | 3 x | — | does not hold | No. |" in text
    assert "| 2 x |" not in text
    assert "## Summary" not in text
    assert "There is no record yet, and so no verdict, for: `derivation`, `iteration`, `learning-rates`" in text


def test_where_the_records_are_missing_the_way_to_them_is_told(tmp_path: Path) -> None:
    """The wheel leaves them out."""
    with pytest.raises(Failure, match="the records of the studies are not installed") as caught:
        page(tmp_path / "records")
    assert "clone the repository" in str(caught.value.next_step)
