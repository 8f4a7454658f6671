"""The contract of a study: sweeps to run (possibly none), and a function that draws figures and conclusions."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..catalog.named import Named
from ..catalog.provided import Provided
from ..errors import BadInput, nearest_match
from ..sweeps.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from ..sweeps.results import Results

__all__ = ["Claim", "Findings", "Material", "Study", "find_study"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim that a study examined.

    Args:
        claim: the claim, in one sentence.
        paper: the paper's number, with units; empty if the claim is not the paper's.
        ours: the number found here, with its range over the seeds, under the paper's protocol where there is one.
        controlled: the number found under controls; empty without controls.
        conclusion: the conclusion, in one sentence.
        holds: whether the claim holds; None if that is open.
    """

    claim: str
    paper: str = ""
    ours: str
    controlled: str = ""
    conclusion: str
    holds: bool | None = None

    @property
    def answer(self) -> str:
        """Whether it holds, in words."""
        return "open" if self.holds is None else "holds" if self.holds else "does not hold"


@dataclass(kw_only=True)
class Findings:
    """The findings of a study, which its record shows.

    Args:
        claims: in the order in which they should be read.
        figures: name -> matplotlib figure; each is saved as PNG and as SVG. None means that runs for the figure are
            missing: the record then keeps the file that it has.
        tables: name -> table; each is saved as CSV and shown in the record.
        captions: name of a figure or table -> what it shows, in a sentence or two.
        text: paragraphs of Markdown before the figures.
    """

    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Figure | None] = field(default_factory=dict)
    tables: dict[str, DataFrame] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def drawn(self) -> dict[str, Figure]:
        """The figures that were drawn."""
        return {name: figure for name, figure in self.figures.items() if figure is not None}


@dataclass(frozen=True)
class Material:
    """The input of a study's `examine`.

    Args:
        results: name of the sweep -> its results; empty for a study without sweeps.
        quick: whether this is the small version.
        say: shows the user a line of progress.
        kept: name -> table of the record that is continued, its values as text; empty for a new one. A record keeps no
            runs, so what was read from a run that is no longer there is in its table only.
    """

    results: Mapping[str, Results]
    quick: bool
    say: Callable[[str], None]
    kept: Mapping[str, DataFrame] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Sweeps to run, and a function that examines their results.

    Args:
        examine: draws figures, makes tables and evaluates claims.
        sweeps: name -> sweep; empty for a study that computes everything in `examine`.
        quick: name -> sweep, for the small version; it runs these sweeps only.
    """

    examine: Callable[[Material], Findings]
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    quick: Mapping[str, Sweep] = field(default_factory=dict)

    @classmethod
    def from_toml(cls, path: Path, examine: Callable[[Material], Findings]) -> Study:
        """A study whose sweeps are in a TOML file.

        Each table [sweep.NAME] has the keys of `Sweep`. A table [quick.NAME] changes some of them for the small version,
        which leaves out every sweep without such a table.

        Raises:
            BadInput: names the file and the key.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"not a study: {error}", where=str(path)) from None
        _only(table, ("summary", "sweep", "quick"), path.name)
        sweeps, quick = table.get("sweep", {}), table.get("quick", {})
        _only(quick, sweeps, f"{path.name}, [quick]")
        small = {name: sweeps[name] | changes for name, changes in quick.items()}
        return cls(
            examine=examine,
            sweeps={name: _sweep(one, f"{path.name}, [sweep.{name}]") for name, one in sweeps.items()},
            quick={name: _sweep(one, f"{path.name}, [quick.{name}]") for name, one in small.items()},
        )


def find_study(name: str, catalog: Catalog) -> tuple[Provided, Study]:
    """The study with this name, and its entry in the catalog.

    Raises:
        BadInput: if there is no such study, or its factory returns something else.
    """
    entry = catalog.find("study", name)
    made = Named(entry.full_name, entry).build()
    if not isinstance(made, Study):
        raise BadInput(f"study '{name}' returned {type(made).__name__}, not an idemlab.Study", where=str(entry.plugin))
    return entry, made


def _sweep(table: Mapping[str, Any], where: str) -> Sweep:
    fields = Sweep.__dataclass_fields__
    _only(table, tuple(fields), where)
    if "experiment" not in table:
        raise BadInput("the key 'experiment' is missing", where=where, next_step="idemlab list experiments")
    return Sweep(**table)


def _only(table: Mapping[str, Any], keys: Sequence[str] | Mapping[str, Any], where: str) -> None:
    for key in table:
        if key not in keys:
            raise BadInput(
                f"there is no key '{key}'", where=where, choices=list(keys), nearest=nearest_match(key, keys)
            )
