"""The one door to torchvision, which fails to import beside a CPU-only torch when its wheel was built for CUDA."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch

__all__ = ["torchvision_datasets"]

_libraries: list[Any] = []  # an operator is forgotten when the library that defines it is


def torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`.

    "operator torchvision::nms does not exist" is a RuntimeError: on it, and only then, the schemas of the two operators
    are declared and the import is tried again. Data sets never call them.

    Raises:
        RuntimeError: if torchvision cannot be imported for another reason.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return importlib.import_module("torchvision.datasets")
