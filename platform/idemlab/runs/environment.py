"""Versions and hardware of a run. Environment variables of the process are not recorded."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

import torch

from ..catalog.catalog import Catalog
from ..catalog.distributions import installed_version

__all__ = ["describe_environment", "package_versions", "plugin_versions"]

_PACKAGES = ("idemlab", "torch", "torchvision", "accelerate", "numpy", "datasets", "pluggy", "pydantic", "safetensors")


def describe_environment(catalog: Catalog, device: torch.device, processes: int) -> dict[str, Any]:
    """Versions of the packages and plugins, the device, the number of processes and threads."""
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device) if device.type == "cpu" else f"{device} ({_device_name(device)})",
        "processes": processes,
        "packages": package_versions(_PACKAGES),
        "plugins": plugin_versions(catalog),
    }


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution, or "not installed"."""
    return {name: installed_version(name) or "not installed" for name in names}


def plugin_versions(catalog: Catalog) -> dict[str, str]:
    """The version of each plugin, by ``distribution:name``."""
    return {f"{p.distribution}:{p.name}": p.version for p in catalog.plugins}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
