"""The page of the league is what its newest record says."""

from __future__ import annotations

import json
from pathlib import Path

from idemlab_registry.league import RECORDS, page

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_docs_is_made_of_the_record() -> None:
    assert (ROOT / "docs" / "league.md").read_text(encoding="utf-8") == page(), (
        "python -m idemlab_registry.league docs/league.md"
    )


def test_a_whole_league_counts_before_a_quick_one_and_the_newest_first(tmp_path: Path) -> None:
    assert "There is no record of a league yet." in page(tmp_path)
    content = {
        "suite": "league", "summary": "Tasks.", "trials": 8, "seeds": 3, "arms": {}, "origins": {}, "tasks": [],
        "environment": {"packages": {"idemlab": "1", "torch": "2"}, "system": "Linux"},
    }  # fmt: skip
    for date, quick in (("2026-01-01", False), ("2026-02-01", False), ("2026-03-01", True)):
        (tmp_path / f"{date}_league").mkdir()
        (tmp_path / f"{date}_league" / "league.json").write_text(json.dumps(content | {"quick": quick}))
    assert "Record: `2026-02-01_league`" in page(tmp_path)
    assert "This is a record of the quick version" not in page(tmp_path)
    assert "**Not run yet:** the tasks `torus`, `sphere`, `ball`, `sorting`, `repair` and `generation`." in page(
        tmp_path
    )
    for name in ("2026-01-01_league", "2026-02-01_league"):
        (tmp_path / name / "league.json").unlink()
    assert "This is a record of the quick version" in page(tmp_path)


def test_every_record_of_a_league_has_its_pictures() -> None:
    for file in RECORDS.glob("*/league.json"):
        for task in json.loads(file.read_text(encoding="utf-8"))["tasks"]:
            assert (file.parent / "pictures" / f"{task['name']}.png").is_file()
