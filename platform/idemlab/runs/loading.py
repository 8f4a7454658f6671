"""Load the trained operator of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..contracts.orbit import Operator
from .run import Run, Which

if TYPE_CHECKING:
    import torch

__all__ = ["load"]


def load(
    run: Run | str | Path,
    *,
    which: Which = "last",
    model: Any = None,
    enforcer: Any = None,
    catalog: Catalog | None = None,
    device: str | torch.device = "cpu",
) -> Operator:
    """The trained operator of a run, in evaluation mode.

    It is built under the seed of the run, in the order of the training: what a model draws and keeps in a buffer that is not
    saved comes out the same. The caller's random numbers are not touched.

    Args:
        which: `last`, `ema` (their moving average, `training.ema`) or `best` (those of the best evaluation,
            `training.best`); the best ones are there as soon as an evaluation was made.
        model: the module (or the function that makes it) that the run was given; needed if the run was given one and is
            opened from its folder. The trained weights go into a copy; your module stays as it is.
        enforcer: the enforcer that the run was given; needed only if it wraps the operator.
        catalog: resolves names; default: the run's own catalog, or the installed plugins.

    Raises:
        BadInput: if the folder holds no run, or no such trained operator; if the model was given as an object and is missing
            here, or is another one.
        Failure: if the weights are damaged.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if catalog is not None:
        run = replace(run, catalog=catalog)
    return run.giving(model=model, enforcer=enforcer).operator(which=which, device=device)
