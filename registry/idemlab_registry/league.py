"""The page of the league: its rules, how to join, and the standings of the newest record.

`python -m idemlab_registry.league docs/league.md` writes it. Every number is read from the record.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from idemlab import IdemlabError, League
from idemlab.wording import listed, plural

__all__ = ["RECORDS", "page"]

RECORDS = Path(__file__).parent / "records"
_RULES = Path(__file__).with_name("league_rules.md")
"""What the page says before the standings: rules, and how to join."""

_QUICK = """\
**This is a record of the quick version.** It shows the form of the result. Its budgets are too small, and its seeds too
few, to prefer one arm to another. The whole league has not been run for this page yet.
"""


def page(records: Path = RECORDS) -> str:
    """The page, in Markdown."""
    rules = _RULES.read_text(encoding="utf-8").rstrip()
    found = [League.open(file.parent) for file in sorted(records.glob("*/league.json"))]
    if not found:
        return f"{rules}\n\n## Standings\n\nThere is no record of a league yet.\n"
    newest = next((league for league in reversed(found) if not league.quick), found[-1])
    name = newest.path.name
    told = f"Record: `{name}`, made by `{newest.made_by}`, with {newest.made_with}"
    pictures = f"../registry/idemlab_registry/records/{name}/pictures"
    parts = [rules, "## Standings", _QUICK.strip() if newest.quick else _missing(newest), told]
    return "\n\n".join(filter(None, parts)) + "\n\n" + newest.markdown(pictures, level=3)


def _missing(league: League) -> str:
    """Which tasks of the suite have no table yet, in a sentence; empty if all have one."""
    done = {table.name for table in league.tasks}
    file = Path(__file__).parent / "suites" / f"{league.suite}.toml"
    lacking = [f"`{name}`" for name in tomllib.loads(file.read_text(encoding="utf-8"))["task"] if name not in done]
    return f"**Not run yet:** {plural(len(lacking), 'the task')} {listed(lacking)}." if lacking else ""


if __name__ == "__main__":
    try:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    except IdemlabError as error:
        sys.exit(str(error))
