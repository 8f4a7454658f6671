"""Checkpoints: written atomically and hashed, then the old ones pruned; JSON and safetensors only.

A checkpoint is a folder ``step-N`` with ``objective.safetensors``, ``optimizer.safetensors``, ``state.json`` and
``manifest.json`` (sha256 of the others). It is written under another name, then renamed, so that it is whole or not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from ..errors import Failure
from ..objective.engines import Stateful
from ..runs.weights import read_weights, write_tensors, write_weights
from ..system.files import sha256, unwritten

__all__ = ["latest", "load_checkpoint", "prune", "save_checkpoint"]

_MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d+)")


def save_checkpoint(
    folder: Path,
    step: int,
    objective: Stateful,
    optimizers: Sequence[Stateful],
    state: dict[str, Any],
    *,
    keep: int,
) -> Path:
    """Write ``folder/step-N``, then remove old checkpoints beyond the newest `keep`, and damaged ones of later steps.

    Args:
        state: further values: nested plain values and tensors.

    Raises:
        Failure: if the disk is full or the folder cannot be written; older checkpoints stay as they are.
    """
    final = folder / f"step-{step}"
    partial = folder / f"step-{step}.tmp"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_weights(partial / "objective.safetensors", objective)
        tensors, plain = _pack({"optimizers": [optimizer.state_dict() for optimizer in optimizers], "state": state})
        write_tensors(partial / "optimizer.safetensors", tensors)
        (partial / "state.json").write_text(json.dumps(plain))
        manifest = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        if _fault(final) is None and (final / _MANIFEST).read_bytes() == (partial / _MANIFEST).read_bytes():
            shutil.rmtree(partial)  # the run was resumed from the same checkpoint, which must never be missing
        else:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise Failure(
            f"the checkpoint of step {step} cannot be written: {error}",
            where=str(folder),
            next_step=f"{unwritten(error)}, then resume the run: the earlier checkpoints are whole",
        ) from error
    for later in [number for number in _steps(folder) if number > step]:
        shutil.rmtree(folder / f"step-{later}", ignore_errors=True)
    prune(folder, step, keep)
    return final


def prune(folder: Path, step: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints up to `step`, and the unfinished ones of killed processes."""
    for old in [number for number in _steps(folder) if number <= step][keep:]:
        shutil.rmtree(folder / f"step-{old}", ignore_errors=True)
    for unfinished in folder.glob("step-*.tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _steps(folder: Path) -> list[int]:
    """Numbers of the checkpoints in a folder, newest first; unfinished ones are not counted."""
    if not folder.is_dir():
        return []
    found = (_STEP.fullmatch(path.name) for path in folder.iterdir())
    return sorted((int(match[1]) for match in found if match), reverse=True)


def latest(folder: Path, message: Callable[[str], None] = lambda text: None) -> Path | None:
    """The newest checkpoint whose hashes are right, or None; reports each damaged one through `message`."""
    for step in _steps(folder):
        path = folder / f"step-{step}"
        fault = _fault(path)
        if fault is None:
            return path
        message(f"checkpoint {path.name} is damaged ({fault}): trying the one before")
    return None


def _fault(path: Path) -> str | None:
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        for name, digest in manifest.items():
            if sha256(path / name) != digest:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"{_MANIFEST}: {error}"
    expected = {"objective.safetensors", "optimizer.safetensors", "state.json"}
    return None if expected <= set(manifest) else f"{_MANIFEST} does not list {', '.join(expected - set(manifest))}"


def load_checkpoint(
    path: Path,
    objective: Stateful,
    optimizers: Sequence[Stateful],
    check: Callable[[Mapping[str, Any]], None] = lambda state: None,
) -> dict[str, Any]:
    """Put a checkpoint back into the objective and the optimisers; returns its `state`.

    Args:
        check: raises if the `state` does not allow it.

    Raises:
        Failure: if the checkpoint belongs to another model or optimiser.
    """
    plain = json.loads((path / "state.json").read_text())
    unpacked = _unpack(plain, read_weights(path / "optimizer.safetensors"))
    state: dict[str, Any] = unpacked["state"]
    check(state)
    try:
        objective.load_state_dict(read_weights(path / "objective.safetensors"))
        for optimizer, values in zip(optimizers, unpacked["optimizers"], strict=True):
            optimizer.load_state_dict(values)
            if isinstance(optimizer, Optimizer):
                _keep_precision(optimizer, values)
    except (RuntimeError, ValueError) as error:
        raise Failure(
            f"checkpoint {path.name} does not fit the model and the optimizer: {' '.join(str(error).split())[:300]}",
            where=str(path),
            next_step="resume it with the experiment and the versions that the run began with, or start a new run",
        ) from error
    return state


def _keep_precision(optimizer: Optimizer, values: dict[str, Any]) -> None:
    """Give back to what an optimiser remembers its precision: torch casts it to that of the parameters, and nadam's products
    are float32 beside any of them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, remembered in values["state"].items():
        own = optimizer.state[parameters[number]]
        for key, value in remembered.items():
            if isinstance(value, Tensor) and value.dtype != own[key].dtype:
                own[key] = value.to(own[key].device, copy=True)


def _pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """A nested structure as (tensors by number, plain structure for JSON with the numbers in their place)."""
    tensors: dict[str, Tensor] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            key = str(len(tensors))
            tensors[key] = node
            return {"tensor": key}
        if isinstance(node, dict):
            return {"dict": [[key, walk(value)] for key, value in node.items()]}
        if isinstance(node, (list, tuple)):
            return {type(node).__name__: [walk(item) for item in node]}
        return node

    return tensors, walk(tree)


def _unpack(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_pack`."""
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(value, tensors) for key, value in content}
    items = [_unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
