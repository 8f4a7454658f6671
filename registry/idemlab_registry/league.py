"""The page of the league: its rules, how to join, and the standings of the newest record.

`python -m idemlab_registry.league docs/league.md` writes it. Every number is read from the record.
"""

from __future__ import annotations

import sys
from pathlib import Path

from idemlab import IdemlabError, League

__all__ = ["RECORDS", "page"]

RECORDS = Path(__file__).parent / "records"

_HEAD = """\
# The league

Which enforcer is the best? It depends on the task. `idemlab league` lets enforcers compete on a fixed suite of six
short tasks, and shows where each of them stands.

```sh
idemlab league --quick
idemlab league --jobs 2
```

The first command takes minutes. It runs two tasks and four arms on small budgets, and shows what a league looks like.
The second one runs everything and is sized for ten hours on two cores. Both can be stopped and continued with
`--resume`. In Python, it is `idemlab.run_league(out="leagues/mine", quick=True)`.

| Task | What f should do | What is known |
|---|---|---|
| `torus`, `sphere` | project R¹⁶ onto a manifold that data show | the manifold, its dimension, the nearest point of it |
| `ball` | project R¹⁶ onto a ball in a subspace, learned from points and their nearest points | the exact projection |
| `repair` | repair noisy digits and leave clean ones alone | the clean digits |
| `generation` | turn noise into digits and leave digits alone | the test digits |
| `sorting` | sort eight numbers | the sorted list |

The arms are `none`, the floor, and `gradient`, `cubic`, `relative`, `hybrid` (`relative` with warm-up), `ign`,
`section`, `linearizer` and `limit`. An arm that does not fit a task keeps a row that says why.

## What is compared

Two relative numbers; smaller is better:

- the **relative error**: how much a second application changes f(x), at data and off it; the worst one counts;
- the **deviation**: how far f(x) is from the right answer. It is 1 for the best constant.

One of the two alone is worth little: a constant has no relative error, and a good restoration need not stay. On
vectors, their sum bounds how far f(f(x)) is from the right answer. Each task has a picture of both. An arm is marked if
no other one is at least as good in both numbers and better in one. A trial that diverged, or whose operator collapsed
to a constant, shrank its outputs below 5 % of the inputs' spread, or became the identity, counts as infinite.

## The rules

1. **Equal operations.** All trials of a task have the same budget of counted FLOPs. A dear step means fewer steps.
2. **Equal tuning.** Each arm tries eight settings in each task, drawn at random from its ranges: the learning rate, and
   the weight of an enforcer that has one.
3. **Never tune on the test data.** The eight settings are measured on every tenth *training* sample, which they are not
   trained on (`evaluation.split = "validation"`). The best one is then trained on all training samples with three
   seeds. The test data are measured once, at the end. If you change an enforcer because of what this page says, and run
   the league again, you have tuned on the test data: say so, or measure on data of your own.
4. **Everything is reported.** Median and range over the seeds, the worst seed, and what failed. No seed is left out.
5. **A short budget is not the last word.** The league says what an enforcer reaches with little time on small networks.

## Join

Install your plugin ([Write a plugin](write-a-plugin.md)); that is all. Then name your enforcer:

```sh
idemlab league mine --quick
idemlab league mine none gradient relative section --jobs 2
```

With `--quick` it stands beside three fixed arms, in five minutes on two cores. Without, name the arms to compare it
with; one arm alone is no league and is refused. An enforcer is tuned over its learning rate and, if it has one, its
argument `weight`. An argument `rank` without default gets the rank of the task. For other arguments, give a table:
`idemlab league none '{ name = "mine", strength = 3 }' --quick`.

A later call may name other arms with `--resume`: what is done stays done. With `--storage URL`, machines that run the
same command share the trials, as in a [sweep](studies.md).

The folder has `league.json` with all numbers, `README.md`, and `league.html`, one self-contained page with the
pictures. `sweeps/` has every trial.

## A suite of your own

A suite is a TOML file. `--suite my-suite.toml` takes it, and a plugin offers it by a name through
[`provide_suites`](plugins.md#provide_suites).

```toml
summary = "One task of mine."
trials = 8
seeds = 3

[task.torus]
title = "Torus"
experiment = "mlp-gradient" # a name, or a file beside this one
flops = 1e11 # of each trial
quick_flops = 1e10
over = { "optimizer.lr" = "log:3e-4:1e-2" } # tuned for every arm
relative = ["data/relative", "noise/relative"]
deviation = { "data/manifold_distance" = 1.4 } # and the error of the best constant, its unit
columns = { "data/relative" = "relative at data" } # shown, too
rank = 2 # for arms that need one
true_rank = 2

[arm.none]
enforcer = "none"

[arm.gradient]
enforcer = "gradient"
over = { "enforcer.weight" = "log:0.1:100" }

[quick]
tasks = ["torus"]
arms = ["none", "gradient"]
trials = 3
seeds = 2
```
"""

_QUICK = """\
**This is a record of the quick version.** It shows the form of the result. Its budgets are too small, and its seeds too
few, to prefer one arm to another. The whole league has not been run for this page yet.
"""


def page(records: Path = RECORDS) -> str:
    """The page, in Markdown."""
    found = [League.open(file.parent) for file in sorted(records.glob("*/league.json"))]
    if not found:
        return _HEAD + "\n## Standings\n\nThere is no record of a league yet.\n"
    newest = next((league for league in reversed(found) if not league.quick), found[-1])
    name, packages = newest.path.name, newest.environment["packages"]
    told = f"Record: `{name}`, made by `{newest.made_by}` with idemlab {packages['idemlab']} and torch {packages['torch']}."
    pictures = f"../registry/idemlab_registry/records/{name}/pictures"
    parts = [_HEAD.rstrip(), "## Standings", _QUICK.strip() if newest.quick else "", told]
    return "\n\n".join(filter(None, parts)) + "\n\n" + newest.markdown(pictures, level=3)


if __name__ == "__main__":
    try:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    except IdemlabError as error:
        sys.exit(str(error))
