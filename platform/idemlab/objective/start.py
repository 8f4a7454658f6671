"""Where a model starts: weights of an earlier run or a file in place of its own, and parameters that stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..catalog.named import Named
from ..contracts.orbit import Operator
from ..errors import BadInput, nearest_match
from ..experiment.start import Start
from ..system import strict_json
from ..system.files import sha256
from ..wording import clipped

__all__ = ["freeze", "load_added", "load_start"]

_SHOWN = 3
"""Largest number of differences between weights and a model in a message."""
_WHERE = "[model], key 'weights'"


def load_start(operator: Operator, start: Start, model: Named) -> dict[str, Tensor]:
    """Give a new model the weights that it starts from, in its own precision.

    Those of a run are the weights of its model, without what an enforcer of the kind architecture added to it.

    Args:
        model: what the operator was made of.

    Returns:
        What an enforcer had added to the model, by name; `load_added` uses it.

    Raises:
        BadInput: if there is no such file, or it does not fit the model; names both sides.
        Failure: if the weights have to be downloaded, and the hub cannot be reached.
    """
    file = start.file()
    if start.settings.weights_sha256 not in (None, sha256(file)):
        raise BadInput("the weights have changed since the run began", where=f"{_WHERE}: {file}")
    weights, further = _read(file)
    own = operator.state_dict()
    _check_names(weights, own, model, file)
    _load(operator, weights, own, str(model), file)
    return further


def load_added(
    operator: Operator, added: Collection[str], further: Mapping[str, Tensor], start: Start, enforcer: Named
) -> str:
    """Give what an enforcer added to the model the weights that it had in the run to start from, if they fit exactly.

    Args:
        operator: as the enforcer wrapped it.
        added: the names of what it added, in the state of the operator.
        further: what the file has beside the weights of the model.

    Returns:
        A sentence about what starts anew, or about what the file has and nothing uses; "" if there is no such thing.

    Raises:
        BadInput: if a value is not finite, or no floating-point number where one is needed.
    """
    own = {name: tensor for name, tensor in operator.state_dict().items() if name in added}
    if own.keys() == further.keys() and all(own[name].shape == further[name].shape for name in own):
        if own:
            _load(operator, further, own, str(enforcer), start.file())
        return ""
    if not own:
        return (
            f"of the weights in '{start.weights}', only those of the model are used, not what an enforcer had added to it "
            f"({_names(further)})"
        )
    why = (
        f"the weights for it in '{start.weights}' do not fit" if further else f"'{start.weights}' has no weights for it"
    )
    return f"what {enforcer} adds to the model ({_names(own)}) starts anew: {why}"


def _names(tensors: Collection[str]) -> str:
    """Some of the names of tensors, for a message."""
    more = f" and {len(tensors) - _SHOWN} more" if len(tensors) > _SHOWN else ""
    return ", ".join(list(tensors)[:_SHOWN]) + more


def _load(module: Operator, given: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, file: Path) -> None:
    """Load tensors of the same names and shapes as some of a module's, in the precision of these."""
    converted = {}
    for name, tensor in own.items():
        weight = given[name]
        if weight.is_floating_point() != tensor.is_floating_point() or weight.is_complex() != tensor.is_complex():
            raise BadInput(
                f"the weights have '{name}' in {_type(weight)}, and {what} has it in {_type(tensor)}",
                where=f"{_WHERE}: {file}",
            )
        converted[name] = weight.to(tensor.dtype)
        if not bool(torch.isfinite(converted[name]).all()):
            raise BadInput(
                f"the weights have values in '{name}' that are not finite"
                + ("" if not bool(torch.isfinite(weight).all()) else f" in {_type(tensor)}"),
                where=f"{_WHERE}: {file}",
            )
    try:
        module.load_state_dict(module.state_dict() | converted)
    except RuntimeError as error:
        raise BadInput(
            f"{what} does not take the weights: {clipped(' '.join(str(error).split()), 300)}",
            where=f"{_WHERE}: {file}",
        ) from error


def freeze(operator: Operator, patterns: Sequence[str], model: Named) -> None:
    """Keep the parameters whose names match one of the patterns as they are: ``*`` and ``?`` stand for any letters.

    Raises:
        BadInput: if a pattern matches no parameter; names the nearest ones.
    """
    parameters = dict(operator.named_parameters())
    for pattern in patterns:
        found = [name for name in parameters if fnmatchcase(name, pattern)]
        if not found:
            groups = sorted({f"{name[:end]}.*" for name in parameters for end in _dots(name)})
            tops = [group for group in groups if group.count(".") == 1]
            raise BadInput(
                f"the pattern '{clipped(pattern)}' matches no parameter of {model}",
                where="[model], key 'freeze'",
                choices=[*(tops or list(parameters))[:12]],
                nearest=nearest_match(pattern, [*groups, *parameters]),
            )
        for name in found:
            parameters[name].requires_grad_(False)


def _dots(name: str) -> list[int]:
    """Where the parts of a dotted name end, without the last one."""
    return [i for i, letter in enumerate(name) if letter == "."]


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a model in a file. From a run's file, those of the model inside its operator, and the others."""
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- it is no mapping
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"is not a safetensors file: {clipped(str(error), 200)}",
            where=f"{_WHERE}: {file}",
            expected="weights as safetensors.torch.save_file writes them",
            next_step="convert them: safetensors.torch.save_file(module.state_dict(), 'weights.safetensors')",
        ) from error
    try:
        prefix = strict_json.loads(metadata["sample"]).get("model", "")
    except (KeyError, ValueError, AttributeError, RecursionError):
        prefix = ""  # a file of another program
    if not isinstance(prefix, str):
        raise BadInput(
            "the enforcer of that run changed the model, so the model's own weights cannot be extracted from the operator",
            where=f"{_WHERE}: {file}",
            next_step="start from a run with another enforcer",
        )
    inside = [name for name in weights if name.startswith(prefix)]
    return {name.removeprefix(prefix): weights[name] for name in inside}, {
        name: tensor for name, tensor in weights.items() if name not in inside
    }


def _check_names(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], model: Named, file: Path) -> None:
    """Check that weights and model have the same names and shapes."""
    missing, extra = [name for name in own if name not in weights], [name for name in weights if name not in own]
    others = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    faults = [
        f"the weights have '{name}' of shape {list(weights[name].shape)}, the model of shape {list(own[name].shape)}"
        for name in others
    ]
    faults += [f"the model has '{name}', which the weights lack" for name in missing]
    faults += [f"the weights have '{name}', which the model lacks" for name in extra]
    if not faults:
        return
    # One of each kind first: a renamed part shows as one that is missing and one that is too many.
    firsts = [0, len(others), len(others) + len(missing)]
    order = [i for i in dict.fromkeys([*firsts, *range(len(faults))]) if i < len(faults)]
    told = [faults[i] for i in order[:_SHOWN]]
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    fit = len(own) - len(missing) - len(others)
    raise BadInput(
        f"the weights do not fit {model}: {'; '.join(told)}{more}",
        where=f"{_WHERE}: {file}",
        expected=f"the same names and shapes; {fit} of the model's {len(own)} tensors fit",
        next_step="give the model the arguments that it had there",
    )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
