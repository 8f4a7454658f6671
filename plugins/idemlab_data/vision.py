"""All access to torchvision, whose import fails beside a CPU-only torch if its wheel was built for CUDA."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch

__all__ = ["torchvision_datasets", "torchvision_transforms"]

_libraries: list[Any] = []  # an operator is forgotten when the library that defines it is


def torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`; raises as `_imported`."""
    return _imported("torchvision.datasets")


def torchvision_transforms() -> ModuleType:
    """`torchvision.transforms.v2`; raises as `_imported`."""
    return _imported("torchvision.transforms.v2")


def _imported(module: str) -> ModuleType:
    """A module of torchvision.

    "operator torchvision::nms does not exist" is a RuntimeError: on it, and only then, the schemas of the two operators
    are declared and the import is tried again. Neither data sets nor transforms call them.

    Raises:
        RuntimeError: if torchvision cannot be imported for another reason.
    """
    try:
        return importlib.import_module(module)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return importlib.import_module(module)
