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
    saved is rebuilt identically. The caller's random numbers are not touched.

    Args:
        run: a run, its folder, the name of a shipped operator, or a name on the Hugging Face hub, ``owner/name``. Names are
            looked up in this order; a `Path` is always a folder.
        which: `last`, `ema` (their moving average, `training.ema`) or `best` (those of the best evaluation,
            `training.best`); the best ones exist after the first usable evaluation.
        model: the module (or the function that makes it) that the run was given; needed if the run was given one and is
            opened from its folder. The trained weights go into a copy; your module does not change.
        enforcer: the enforcer that the run was given; needed only if it wraps the operator.
        catalog: resolves names; default: the run's own catalog, or the installed plugins.

    Raises:
        BadInput: if there is no such operator, or no such weights in the folder yet; if the model was given as an object
            and is missing here, or is another one.
        Failure: if the weights are damaged, or the hub cannot be reached.
    """
    run = run if isinstance(run, Run) else Run.find(run, catalog=catalog)
    if catalog is not None:
        run = replace(run, catalog=catalog)
    return run.giving(model=model, enforcer=enforcer).operator(which=which, device=device)
