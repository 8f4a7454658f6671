"""What a benchmark was asked for: its arguments are checked, and become experiments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ..catalog.catalog import Catalog
from ..errors import BadInput, nearest_match
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..system.neighbours import own_cores
from ..wording import counted
from .alone import check_alone
from .by_hand import NOISE

__all__ = ["checked_device", "experiment_for", "labels"]

_OWN = {"dataset": "shape", "training.batch_size": "batch", "enforcer.name": "enforcers"}
_OWN |= dict.fromkeys(("training.steps", "training.epochs", "training.flops"), "steps")
"""Keys of an experiment that the benchmark sets itself, and the arguments to give in their place."""


def checked_device(
    enforcers: Sequence[str | Mapping[str, Any]],
    *,
    threads: int | None,
    device: str | None,
    shape: Sequence[int],
) -> str:
    """The kind of device; refuses numbers and devices that cannot be."""
    cores = len(own_cores())
    if threads is not None and threads > cores:  # they would wait for each other; ten thousands crash the process
        raise BadInput(
            f"threads cannot be {threads} on {counted(cores, 'core')}", where="threads", expected=f"at most {cores}"
        )
    if not shape:
        raise BadInput("a sample cannot have no numbers", where="shape", expected="whole numbers, such as 1,28,28")
    if not enforcers:
        raise BadInput("there is no enforcer to time", next_step="idemlab list enforcers")
    for number, enforcer in enumerate(enforcers):
        if enforcer in enforcers[:number]:
            raise BadInput(f"enforcer {enforcer!r} is given twice", next_step="name each enforcer once")
    check_alone()
    if device not in (None, "cpu", "cuda"):
        raise BadInput(
            f"there is no device '{device}'",
            where="device",
            choices=["cpu", "cuda"],
            nearest=nearest_match(str(device), ["cpu", "cuda"]),
        )
    if device == "cuda" and not torch.cuda.is_available():
        built = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no GPU"
        raise BadInput(
            f"CUDA is not there: {built}",
            where="device",
            expected="cpu on this machine",
            next_step="leave `device` out, or install a torch for CUDA; idemlab doctor describes this machine",
        )
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes", "on", "y", "t")
    return device or ("cuda" if wanted and torch.cuda.is_available() else "cpu")


def experiment_for(
    base: Mapping[str, Any], enforcer: str | Mapping[str, Any], overrides: Sequence[str], catalog: Catalog
) -> Experiment:
    """The experiment that times one enforcer."""
    for override in overrides:
        given = f"{override.partition('=')[0].strip()}."
        if given.startswith("evaluation."):
            raise BadInput(
                f"a benchmark evaluates nothing, so '{override}' would have no effect",
                where=f"the override '{override}'",
                next_step="leave it out; the time of evaluations is measured by: idemlab profile EXPERIMENT",
            )
        for key, argument in _OWN.items():
            if given.startswith(f"{key}.") or f"{key}.".startswith(given):  # the key, a part of it, or its whole table
                raise BadInput(
                    f"a benchmark does not take '{override}'",
                    where=f"the override '{override}'",
                    expected=f"`{argument}` in place of {key}",
                    next_step=f"give `{argument}`",
                )
    table = dict(base) | {"enforcer": enforcer}
    experiment = resolve(table, overrides, catalog=catalog)
    traits = experiment.enforcer.traits()
    if traits.needs_reconstruction or traits.expands:
        experiment = resolve(table | {"source": NOISE}, overrides, catalog=catalog)
    return experiment


def labels(enforcers: Sequence[str | Mapping[str, Any]]) -> Iterator[str]:
    """Each name, with the arguments that were given."""
    for enforcer in enforcers:
        if isinstance(enforcer, str):
            yield enforcer
            continue
        given = ", ".join(f"{key} = {value}" for key, value in enforcer.items() if key != "name")
        yield f"{enforcer['name']} ({given})" if given else str(enforcer["name"])
