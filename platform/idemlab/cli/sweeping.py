"""`sweep`, `status` and `study`: many runs, their progress, and what they show."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput
from .app import app, example
from .console import loading, note, show, show_json, table
from .options import Json
from .running import Stopped

if TYPE_CHECKING:
    from ..studies.study import Findings
    from ..sweeps.results import Results

SWEEPS, STUDIES = Path("sweeps"), Path("studies")
"""Default folders for sweeps and studies."""

Out = Annotated[
    Path | None, typer.Option(help="Folder to make. Default: sweeps/NAME, or studies/NAME.", show_default=False)
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue: run the trials that are not finished.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of worker processes, which share the cores. By default one for each core, but one alone with a "
        "GPU, a pruner or tpe.",
        show_default=False,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database through which machines that run this command share its trials: postgresql://USER@HOST/DATABASE.",
        show_default=False,
    ),
]


@app.command(
    epilog=example(
        "idemlab sweep mlp-cubic --over enforcer.name=cubic,gradient --over optimizer.lr=log:1e-5:1",
        "idemlab sweep mlp-cubic --over enforcer.weight=0.1,1,10 --seeds 5 --out sweeps/weight",
        "idemlab sweep mlp-cubic --over enforcer.weight=0.1,1,10 --seeds 5 --out sweeps/weight --resume",
        "idemlab sweep mlp-cubic --over optimizer.lr=log:1e-5:1 --sampler tpe --trials 50 --seeds 3",
    )
)
def sweep(
    experiment: Annotated[
        str,
        typer.Argument(metavar="EXPERIMENT", help="Name of an experiment, or path of a TOML file.", show_default=False),
    ],
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Values to try: a,b,c or log:LOW:HIGH[:N] or lin:LOW:HIGH:N or a TOML array; several keys are combined. "
            "For the other samplers: a,b,c or log:LOW:HIGH or uniform:LOW:HIGH or int:LOW:HIGH.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key in all trials.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Run each setting with seeds 0 ... N-1.")] = 1,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="grid: every combination; random; halton: spread evenly; tpe: near the best so far."
        ),
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Number of settings that the sampler chooses.", show_default=False)
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="Metric that decides, at one set of inputs (noise/relative) or the worst of all (relative). Settings "
            "are compared by the median over their seeds; a collapsed run counts as the worst.",
        ),
    ] = "relative",
    maximize: Annotated[bool, typer.Option("--maximize", help="A larger metric is better.")] = False,
    pruner: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="none; median or halving: stop trials that are worse than others at the same step."
        ),
    ] = "none",
    storage: Storage = None,
    jobs: Jobs = None,
    out: Out = None,
    resume: Resume = False,
    retry: Annotated[bool, typer.Option("--retry", help="With --resume: also run failed trials again.")] = False,
    as_json: Json = False,
) -> None:
    """Train one experiment with many settings and seeds: all combinations, or settings that a sampler chooses."""
    from ..sweeps.sweep import Sweep
    from ..sweeps.values import parse_over

    axes = [parse_over(text, sampler) for text in over or []]
    repeated = next((key for key, _ in axes if [k for k, _ in axes].count(key) > 1), None)
    if repeated:
        raise BadInput(f"'{repeated}' is given twice", where="--over", expected=f"--over {repeated}=VALUE,VALUE,...")
    if not axes and seeds == 1 and sampler == "grid":
        raise BadInput(
            "there is nothing to try",
            expected="--over KEY=VALUES, or --seeds N",
            next_step=f"idemlab sweep {shlex.quote(experiment)} --over optimizer.lr=log:1e-4:1e-2 --seeds 3",
        )
    tried = Sweep(
        experiment=experiment,
        set=dict(_set(text) for text in overrides or []),
        over=dict(axes),
        seeds=seeds,
        sampler=sampler,
        trials=trials,
        metric=metric,
        maximize=maximize,
        pruner=pruner,
    )
    path = out or SWEEPS / Path(experiment).stem
    with loading():
        from ..sweeps.runner import run_sweep
    with stoppable(path):
        results = run_sweep(tried, path, resume=resume, retry=retry, jobs=jobs, storage=storage, say=note)
    if as_json:
        best = results.best
        shown = None if best is None else {"values": best.values, "value": best.value}
        show_json({"sweep": str(path), "best": shown, "trials": [trial.row() for trial in results.trials]})
    else:
        _show_results(results)
        show("", _best(results))
        show("", f"Table: {path / 'table.csv'}")


def _set(text: str) -> tuple[str, object]:
    """(key, value) of ``key=value``; the key is checked when the experiment is resolved."""
    from ..sweeps.values import parse_value

    key, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"'{text}' is not an override", where="--set", expected="KEY=VALUE")
    return key.strip(), parse_value(value.strip())


def _show_results(results: Results) -> None:
    """Print one row per setting: median, smallest and largest error over its seeds."""
    from ..experiment.toml import toml_value
    from ..wording import number

    names = [name for name in results.metrics if name.partition("/")[2] in ("relative", "absolute", "rank")]
    ranges = results.ranges(names)
    rows = []
    for _, row in ranges.iterrows():
        done = row["trials"] - row["failed"] - row["pruned"]
        cells = [f"{number(row[n])} ({number(row[f'{n} min'])} to {number(row[f'{n} max'])})" for n in names if done]
        head = [toml_value(v) if isinstance(v, (dict, list)) else str(v) for v in (row[key] for key in results.keys)]
        rows.append([*head, f"{done}/{row['trials']}", row["verdicts"] or "none", *(cells or ["—"] * len(names))])
    show(table([*results.keys, "done", "verdicts", *names], rows, right=names))


def _best(results: Results) -> str:
    """The best setting in one line."""
    from ..experiment.toml import toml_value
    from ..wording import number

    best = results.best
    if best is None:
        return "Best: none; every trial so far failed, collapsed or was pruned"
    values = ", ".join(f"{key}={toml_value(value)}" for key, value in best.values.items()) or "the experiment itself"
    seeds = f", the median of {len(best.trials)} seeds" if len(best.trials) > 1 else ""
    return f"Best: {values}  ({results.goal.metric} {number(best.value)}{seeds})"


@app.command(epilog=example("idemlab status sweeps/weight", "idemlab status postgresql://me@db/sweeps --name weight"))
def status(
    sweep: Annotated[
        str,
        typer.Argument(metavar="SWEEP", help="Folder of a sweep, or URL of its database.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the sweep, if a database holds several.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the progress of a sweep: finished and running trials, the best setting so far, the time left."""
    with loading():
        from ..sweeps.status import sweep_status
        from ..wording import counted, time_span

        found = sweep_status(sweep, name=name)
    if as_json:
        best = None if found.best is None else {"values": found.best.values, "value": found.best.value}
        content = {"sweep": found.sweep, "total": found.total, "counts": found.counts, "best": best}
        content |= {"running": [vars(each) for each in found.running]}
        show_json(content | {"held_by": found.held_by, "seconds_left": found.seconds_left})
        return
    for line in found.results.damage:
        note(f"damaged: {line}")
    told = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    show(f"{counted(found.total, 'trial')}: {told}", _best(found.results))
    if found.seconds_left is not None:
        show(f"Time left: about {time_span(found.seconds_left)}" if found.seconds_left else "Time left: none")
    if found.held_by:
        show(f"Run by {found.held_by}")
    if found.running:
        rows = [
            [
                *(
                    each.trial,
                    each.setting,
                    each.state,
                    f"{each.machine} {each.worker}".strip(),
                    time_span(each.seconds),
                ),
                "—" if each.step is None else each.step,
            ]
            for each in found.running
        ]
        show("", table(["trial", "setting", "state", "worker", "since", "step"], rows, right=["trial", "step"]))


@app.command(epilog=example("idemlab study basin", "idemlab study learning-rates --quick"))
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a study.", show_default=False)],
    quick: Annotated[bool, typer.Option("--quick", help="Run the small version, which takes a few minutes.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SWEEP", help="Run only this sweep, then evaluate all results so far.", show_default=False
        ),
    ] = None,
    jobs: Jobs = None,
    out: Out = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Run the sweeps of a study, draw its figures, and evaluate its claims."""
    from ..catalog.catalog import installed

    installed().find("study", name)
    path = out or STUDIES / (f"{name}-quick" if quick else name)
    with loading():
        from ..studies.record import run_study
    with stoppable(path):
        findings = run_study(name, path, quick=quick, resume=resume, only=tuple(only or ()), jobs=jobs, say=note)
    if as_json:
        show_json({"record": str(path), "claims": [vars(claim) for claim in findings.claims]})
        return
    _show_claims(findings)
    show(f"Record: {path / 'README.md'}")


def _show_claims(findings: Findings) -> None:
    for claim in findings.claims:
        show(f"{claim.claim}  [{claim.answer}]")
        told = {"paper": claim.paper, "here": claim.ours, "under controls": claim.controlled}
        for label, text in told.items():
            if text:
                show(f"  {label}: {text}")
        show(f"  {claim.conclusion}", "")


@contextmanager
def stoppable(path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(
            "stopped at once; finished trials are kept", where=str(path), next_step="the same command with --resume"
        ) from None
