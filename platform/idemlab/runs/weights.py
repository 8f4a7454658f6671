"""Weight files: safetensors, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import Failure
from ..objective.engines import Stateful
from ..system.files import replacing

__all__ = ["read_weights", "write_tensors", "write_weights"]


def write_weights(path: Path, module: Stateful, metadata: dict[str, str] | None = None) -> None:
    """Write a module's parameters and buffers as safetensors, atomically."""
    write_tensors(path, module.state_dict(), metadata)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors. Tensors that share storage are copied; the others are not."""
    apart: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    with replacing(path) as partial:
        save_file(apart, partial, metadata=metadata)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        Failure: if the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise Failure(f"cannot read the weights: {error}", where=str(path)) from error
