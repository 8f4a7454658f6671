"""Reads the results of a sweep, and writes its tables and its picture."""

from __future__ import annotations

from pathlib import Path

from ..catalog.catalog import Catalog
from ..experiment import toml
from ..reports import style
from ..system.files import as_path
from ..system.lock import held_by
from .folder import is_kept, read_sweep
from .ledger import Ledger, folder_of
from .pictures import sweep_figure
from .results import Results, Trial, read_table, write_table
from .sweep import Sweep

__all__ = ["kept_results", "open_sweep", "results_of", "write_summaries"]


def open_sweep(path: str | Path, *, storage: str | None = None, catalog: Catalog | None = None) -> Results:
    """The results of a sweep, finished or not. A record keeps only the table of a sweep; then the table is read.

    Args:
        storage: URL of the database with its password, which the folder does not keep.
        catalog: used to read the experiments of the runs; default: the installed plugins.

    Raises:
        BadInput: if the folder holds no sweep.
        Failure: if its database cannot be reached.
    """
    folder = as_path(path, "path")
    sweep, url, name = read_sweep(folder)
    if storage is None and is_kept(folder):
        return kept_results(sweep, folder)
    growing = held_by(folder) is not None
    return results_of(sweep, folder, Ledger(folder, storage or url, name, goal=sweep.goal, growing=growing), catalog)


def kept_results(sweep: Sweep, folder: Path) -> Results:
    """The results in the table of a record."""
    trials = read_table(folder, sweep.axes() if sweep.sampler == "grid" else dict.fromkeys(sweep.over, ()))
    return Results(tuple(trials), tuple(sweep.over), folder, sweep.goal, sweep.sampler)


def results_of(sweep: Sweep, folder: Path, ledger: Ledger, catalog: Catalog | None = None) -> Results:
    """The results in the storage of a sweep."""
    latest: dict[str, Trial] = {}
    for frozen in ledger.trials():
        row = frozen.user_attrs.get("row")
        if row is not None:
            own = {"metrics" if key == "figures" else key: value for key, value in row.items()}  # the storage's word
            latest[frozen.user_attrs["point"]] = Trial(
                number=frozen.number, path=folder / folder_of(frozen), catalog=catalog, **own
            )
    trials = tuple(sorted(latest.values(), key=lambda trial: trial.number))
    return Results(trials, tuple(sweep.over), folder, sweep.goal, sweep.sampler, ledger.damage)


def write_summaries(results: Results) -> None:
    """Write table.csv and table.parquet (one row per trial), ranges.csv (one row per setting) and sweep.png."""
    table = results.table
    write_table(results)
    mixed = {key: table[key].map(toml.toml_value) for key in results.keys if table[key].dtype == object}
    table.assign(**mixed).to_parquet(results.path / "table.parquet", index=False)
    results.ranges().to_csv(results.path / "ranges.csv", index=False)
    figure = sweep_figure(results)
    if figure is not None:
        style.save(style.png(figure), results.path / "sweep.png")
