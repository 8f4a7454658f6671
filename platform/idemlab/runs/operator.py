"""The trained operator of a run, rebuilt from its experiment and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..catalog.named import Named
from ..contracts.enforcer import Enforcer
from ..contracts.orbit import Operator
from ..contracts.specs import EnforcerKind
from ..errors import Failure
from ..experiment.experiment import Experiment
from ..objective.fingerprint import fingerprint
from ..objective.parts import build_operator
from .weights import read_weights

__all__ = ["trained_operator", "trained_weights"]


def trained_operator(experiment: Experiment, file: Path, sample: dict[str, Any], resuming: str) -> Operator:
    """The trained operator, on the CPU and in evaluation mode.

    It is built under the seed of the run, in the order of the training: what a model draws and keeps in a buffer that is not
    saved is rebuilt identically. The caller's random numbers are not touched.

    Args:
        file: of the weights.
        sample: what is stored with the weights: the shape of a sample, the number of classes of a condition, and a hash if
            idemlab wrote them.
        resuming: the command that resumes the run.

    Raises:
        BadInput: if the model was given as an object that is not here.
        Failure: if the weights are damaged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.training.seed)
        enforcer = Enforcer() if _only_trains(experiment.enforcer) else experiment.enforcer.build_as(Enforcer)
        operator = enforcer.wrap(build_operator(experiment, tuple(sample["shape"]), sample.get("classes")))
    operator = operator.to(getattr(torch, experiment.training.dtype))
    weights = trained_weights(file, sample, resuming)
    try:
        operator.load_state_dict(weights)
    except RuntimeError as error:
        raise Failure(
            f"the weights do not fit {experiment.model}: {' '.join(str(error).split())[:300]}",
            where=str(file),
            next_step="install the versions that environment.json names",
        ) from error
    return operator.eval()


def trained_weights(file: Path, sample: dict[str, Any], resuming: str) -> dict[str, Tensor]:
    """The weights of a trained operator, as they were written.

    Raises:
        Failure: if they are damaged, or have changed since.
    """
    weights, sample = read_weights(file), dict(sample)
    # Weights that idemlab did not write have no hash.
    if sample.pop("sha256", None) not in (None, fingerprint(weights, sample)):
        raise Failure("the weights have changed since they were written", where=str(file), next_step=resuming)
    return weights


def _only_trains(enforcer: Named) -> bool:
    """Whether an enforcer is a given object that is not here, and not needed, because it does not change the operator."""
    return enforcer.missing and EnforcerKind.ARCHITECTURE not in enforcer.arguments.get(
        "kinds", [EnforcerKind.ARCHITECTURE]
    )
