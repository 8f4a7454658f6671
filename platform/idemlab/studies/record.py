"""Runs a study and writes its record: first the sweeps, then the examination, then README, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog, or_installed
from ..errors import BadInput, Failure, nearest_match
from ..runs.environment import describe_environment
from ..sweeps.folder import check_kept, is_begun, is_kept
from ..sweeps.reading import open_sweep
from ..sweeps.runner import run_sweeps
from ..system import strict_json
from ..system.files import as_path, folder_for
from ..wording import command, counted, nothing_to_resume, number, plural
from .environments import MadeIn, claims_in, environment_in, environments_of, note_environment
from .study import Claim, Findings, Material, find_study

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..sweeps.results import Results
    from ..sweeps.sweep import Sweep

__all__ = ["claims_table", "markdown", "not_run", "run_study", "tables_in"]

ROWS = 60
"""Largest number of rows of a table in the README; the CSV file has all rows."""
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")


def run_study(
    name: str,
    out: str | Path,
    *,
    quick: bool = False,
    resume: bool = False,
    only: tuple[str, ...] = (),
    jobs: int | None = 1,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> Findings:
    """Run a registered study and write its record.

    The record is the folder: README.md with claims, tables and figures; `claims.json`; `figures/*.png` and `.svg`;
    `tables/*.csv`; `environment.json`; and `sweeps/NAME/` with every run.

    Args:
        name: name of the study.
        out: folder of the record; must be new or empty unless `resume`.
        quick: run the small version.
        resume: run the trials that are not finished. A sweep whose table the record keeps counts as finished.
        only: names of the sweeps to run; empty for all. The examination uses the existing results of the other sweeps.
        jobs: number of worker processes for the trials of all sweeps; 1 trains in this process, None chooses a number.
        say: called with each line of progress.

    Raises:
        BadInput: if there is no such study or sweep, or the folder is taken.
        Interrupted: after Ctrl-C or SIGTERM; the study can be resumed.
    """
    own = or_installed(catalog)
    entry, made = find_study(name, own)
    path = as_path(out, "out")
    _check_folder(path, name, resume=resume)
    if resume and not (path / "claims.json").is_file() and not (path / "sweeps").is_dir():
        say(nothing_to_resume(path))
    sweeps = made.quick if quick else made.sweeps
    for unknown in set(only) - set(sweeps):
        raise BadInput(
            f"study '{name}' has no sweep '{unknown}'",
            where="only",
            choices=sorted(sweeps),
            nearest=nearest_match(unknown, sweeps),
        )
    _check_same_size(path, quick=quick)
    made_in, kept = environments_of(path), tables_in(path)
    results: dict[str, Results] = {}
    wanted: dict[Path, Sweep] = {}
    missing: list[str] = []
    for title, plan in sweeps.items():
        folder = path / "sweeps" / title
        if is_kept(folder) and title not in only:
            say(f"sweep {title}: kept from the record")
            results[title], lacking = _kept(plan, folder, own)
            missing += [f"{title} ({lacking} of {counted(plan.count * plan.seeds, 'trial')})"] if lacking else []
        elif not only or title in only:
            wanted[folder] = plan
        elif is_begun(folder):
            results[title] = open_sweep(folder)
        else:
            missing.append(title)
    before = {folder: open_sweep(folder).trials for folder in wanted if is_begun(folder)}
    done = run_sweeps(wanted, jobs=jobs, say=say, catalog=own)
    ran = [folder.name for folder, found in done.items() if found.trials != before.get(folder, ())]
    results |= {folder.name: found for folder, found in done.items()}
    results = {title: results[title] for title in sweeps if title in results}
    say("examining")
    findings = made.examine(Material(results, quick, say, kept))
    heading = {
        "study": name,
        "summary": entry.spec.summary,
        "reference": entry.spec.reference,
        "quick": quick,
        "not_run": missing,
    }
    known = {name for names in made_in.values() for name in names}
    ran += [name for name in results if name not in known and name not in ran]  # before a record was written
    _write_record(path, heading, findings, results, made_in, ran, own)
    return findings


def tables_in(record: Path) -> dict[str, DataFrame]:
    """Name -> table of a record, its values as the text of the file; nothing where there is no record yet.

    Raises:
        BadInput: names the file that is no table.
    """
    from pandas import DataFrame, read_csv
    from pandas.errors import EmptyDataError

    tables = {}
    for file in sorted((record / "tables").glob("*.csv")):
        try:
            tables[file.stem] = read_csv(file, dtype=str, keep_default_na=False)
        except EmptyDataError:  # as a table without columns is written
            tables[file.stem] = DataFrame()
        except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            raise BadInput(
                f"it is no table: {error}",
                where=str(file),
                next_step="restore it, or remove it: the study makes it again from the runs that are there",
            ) from error
    return tables


def _check_folder(path: Path, name: str, *, resume: bool) -> None:
    """Refuse a folder that holds another study, or anything else, and a place where there can be none."""
    folder_for(path, "the record")
    if not path.is_dir() or not any(not found.name.startswith(".lock") for found in path.iterdir()):
        return
    if not resume:
        raise BadInput(f"'{path}' is not empty", next_step="choose another `out`, or continue this record: `resume`")
    if not (path / "claims.json").is_file():
        if (path / "sweeps").is_dir() or (path / "tables").is_dir():
            return  # stopped before the record was whole
        raise BadInput(f"'{path}' holds no study", where="out", next_step="choose another `out`")
    other = claims_in(path).get("study")
    if str(other).rpartition(":")[2] != name.rpartition(":")[2]:
        raise BadInput(
            f"'{path}' holds the record of study '{other}', not of '{name}'",
            where="out",
            next_step=f"choose another `out`, or continue that study: {command('study', str(other), out=path, resume=True)}",
        )


def _check_same_size(path: Path, *, quick: bool) -> None:
    """Refuse to continue the small version of a study as the whole one, or the other way round."""
    file = path / "claims.json"
    if file.is_file() and claims_in(path).get("quick") != quick:
        raise BadInput(
            f"'{path}' holds the {'whole' if quick else 'small'} version of the study",
            where="quick",
            next_step=f"continue it {'without' if quick else 'with'} `quick`, or choose another `out`",
        )


def _kept(plan: Sweep, folder: Path, catalog: Catalog) -> tuple[Results, int]:
    """(results of a sweep that a record keeps, number of trials it lacks).

    Raises:
        BadInput: if the study's sweep has changed since.
    """
    first = plan.resolve((plan.settings() or plan.probes())[0], catalog)
    check_kept(plan, folder, first)
    results = open_sweep(folder)
    return results, max(0, plan.count * plan.seeds - len(results.trials))


# -- the record -----------------------------------------------------------------------------------------------------------


def _write_record(
    path: Path,
    heading: Mapping[str, Any],
    findings: Findings,
    results: Mapping[str, Results],
    made_in: MadeIn,
    ran: Sequence[str],
    catalog: Catalog,
) -> None:
    import torch

    try:
        for folder in ("figures", "tables"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        for name, figure in findings.drawn.items():
            figure.savefig(path / "figures" / f"{name}.png", dpi=160, metadata={"Software": None})
            figure.savefig(path / "figures" / f"{name}.svg", metadata={"Date": None})
        for name, table in findings.tables.items():
            table.to_csv(path / "tables" / f"{name}.csv", index=False)
        now = describe_environment(catalog, torch.device("cpu"), 1)
        environments = note_environment(path, made_in, ran, now)
        claims = [vars(claim) for claim in findings.claims]
        content = {**heading, "environments": environments, "claims": claims}
        content |= {"text": findings.text, "captions": findings.captions}
        (path / "claims.json").write_text(strict_json.dumps(content, indent=1), encoding="utf-8")
        (path / "README.md").write_text(_page(path, heading, findings, results, environments), encoding="utf-8")
    except OSError as error:
        raise Failure(f"the record '{path}' cannot be written: {error}", next_step="choose another `out`") from error


def _page(
    path: Path,
    heading: Mapping[str, Any],
    findings: Findings,
    results: Mapping[str, Results],
    environments: MadeIn,
) -> str:
    made_by = command("study", heading["study"], quick=heading["quick"])
    parts = [f"# {heading['study']}", heading["summary"]]
    if heading["reference"]:
        parts.append(f"Source: {heading['reference']}.")
    parts.append(f"Made by `{made_by}`." + (" This is the small version, with few seeds and steps." * heading["quick"]))
    if findings.claims:
        parts += ["## Claims", claims_table(findings.claims)]
    if findings.text:
        parts.append(findings.text.strip())
    for name in findings.figures:
        if name not in findings.drawn and not (path / "figures" / f"{name}.png").is_file():
            continue
        parts += [f"## {_title(name)}", findings.captions.get(name, ""), f"![{_title(name)}](figures/{name}.png)"]
    for name, table in findings.tables.items():
        more = f"The first {ROWS} of {len(table)} rows; all rows are in [tables/{name}.csv](tables/{name}.csv)."
        parts += [f"## {_title(name)}", findings.captions.get(name, ""), markdown(table[:ROWS])]
        parts.append(more if len(table) > ROWS else f"The table as a file: [tables/{name}.csv](tables/{name}.csv).")
    if results or heading["not_run"]:
        parts += ["## Runs", _runs(results), not_run(heading["not_run"])]
    parts += ["## Environment", *_environments(path, environments)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _runs(results: Mapping[str, Results]) -> str:
    lines = [
        "Each sweep's folder has `sweep.toml` (the sweep, and its first trial, resolved), `table.csv` (every trial) "
        "and, on the machine that ran it, `trials/` (every run).",
        "",
    ]
    for name, result in results.items():
        failed = sum(trial.state == "failed" for trial in result.trials)
        seconds = sum(trial.seconds or 0 for trial in result.trials)
        trials = counted(len(result.trials), "trial")
        lines.append(f"- `sweeps/{name}`: {trials}, {failed} failed, {number(round(seconds))} s of training")
    return "\n".join(lines)


def _environments(path: Path, environments: MadeIn) -> list[str]:
    """A paragraph for each environment, with its sweeps where there are several."""
    paragraphs = []
    for file, sweeps in environments.items():
        try:
            told = _environment(environment_in(path / file) or {})
        except (LookupError, TypeError):
            told = f"`{file}` cannot be read."
        if len(environments) > 1:
            told += f" {plural(len(sweeps), 'Sweep')} that ran here: {', '.join(f'`{name}`' for name in sweeps)}."
        paragraphs.append(told)
    return paragraphs


def _environment(found: Mapping[str, Any]) -> str:
    packages = found["packages"]
    return (
        f"idemlab {packages['idemlab']}, torch {packages['torch']}, Python {found['python']}, "
        f"{found['system']}, {found['device']}, {counted(found['threads'], 'thread')}."
    )


def not_run(sweeps: list[str]) -> str:
    """The sentence about sweeps that did not run."""
    return f"Not run: {', '.join(f'`{name}`' for name in sweeps)}. No result here depends on them." if sweeps else ""


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").capitalize()


def claims_table(claims: list[Claim]) -> str:
    """Claims as a Markdown table."""
    lines = ["| Claim | Paper | Here | Under controls | | Conclusion |", "|---|---|---|---|---|---|"]
    for claim in claims:
        cells = (claim.claim, claim.paper, claim.ours, claim.controlled, claim.answer, claim.conclusion)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def markdown(table: DataFrame) -> str:
    """A table in Markdown, with numbers to three significant digits."""
    lines = ["| " + " | ".join(_cell(str(name)) for name in table.columns) + " |", "|" + "---|" * len(table.columns)]
    rows = table.itertuples(index=False)
    lines += ["| " + " | ".join(_cell(_value(value)) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return str(value)
    if value is None or value != value:  # missing, in a table of text or of numbers
        return "—"
    return number(float(value)) if isinstance(value, (int, float)) or hasattr(value, "item") else str(value)


def _cell(text: str) -> str:
    """Text for one cell. A "<" that would open an HTML tag is escaped; a plain "<", as in p < 0.01, stays readable."""
    return " ".join(_TAG.sub("&lt;", text or "—").replace("|", "\\|").split())
