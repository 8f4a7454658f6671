"""Load the trained operator of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from ..catalog.catalog import Catalog, installed
from ..contracts.enforcer import Enforcer
from ..contracts.orbit import Operator
from ..errors import Failure
from ..experiment.resolution import resolve
from ..objective.parts import build_operator
from .run import Run
from .weights import fingerprint, read_weights

__all__ = ["load"]


def load(run: Run | str | Path, *, catalog: Catalog | None = None, device: str | torch.device = "cpu") -> Operator:
    """The trained operator of a run, in evaluation mode.

    It is built under the seed of the run, in the order of the training: what a model draws and keeps in a buffer that is not
    saved comes out the same. The caller's random numbers are not touched.

    Args:
        catalog: resolves names; default: the run's own catalog, or the installed plugins.

    Raises:
        BadInput: if the folder holds no run, or no trained operator yet.
        Failure: if the weights are damaged.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    catalog = catalog or run.catalog or installed()
    experiment = resolve(run.experiment_file, catalog=catalog)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.training.seed)
        enforcer: Enforcer = experiment.enforcer.build()
        operator = enforcer.wrap(build_operator(experiment, run.shape))
    operator = operator.to(getattr(torch, experiment.training.dtype))
    weights, sample = read_weights(run.weights_file), run._sample()
    # Weights that idemlab did not write have no hash.
    if sample.pop("sha256", None) not in (None, fingerprint(weights, sample)):
        raise Failure(
            "the weights have changed since they were written", where=str(run.weights_file), next_step=run.resuming
        )
    try:
        operator.load_state_dict(weights)
    except RuntimeError as error:
        raise Failure(
            f"the weights do not fit model '{experiment.model.name}': {' '.join(str(error).split())[:300]}",
            where=str(run.weights_file),
            next_step="install the versions that environment.json names",
        ) from error
    return operator.to(device).eval()
