"""Where trained extractors are kept: safetensors and JSON in a folder that is whole or not there.

Some are shipped. Training differs by rounding from machine to machine; shipped weights make every machine judge by the same
network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = ["SHIPPED", "cache_folder", "keep", "kept", "sha256"]

_WEIGHTS, _CARD = "weights.safetensors", "card.json"
SHIPPED = Path(__file__).parent / "judges"


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """``$IDEMLAB_CACHE/extractors``, else ``~/.cache/idemlab/extractors``."""
    return Path(os.environ.get("IDEMLAB_CACHE") or "~/.cache/idemlab").expanduser() / "extractors"


def _folder(name: str) -> Path:
    """Of what is kept under a name, which leads nowhere else.

    Raises:
        ValueError: if the name is more than a name.
    """
    if name in ("", ".", "..") or "/" in name or os.sep in name:
        raise ValueError(f"'{name}' is not a valid name")
    return cache_folder() / name


def kept(name: str) -> dict[str, Tensor] | None:
    """The weights shipped or kept under a name, or None where there are none, or not those that were written."""
    own = _folder(name)
    shipped = _weights(SHIPPED / name)
    return _weights(own) if shipped is None else shipped


def _weights(folder: Path) -> dict[str, Tensor] | None:
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        if card["sha256"] != sha256(folder / _WEIGHTS):
            return None
        return load_file(folder / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def keep(name: str, module: nn.Module, card: dict[str, Any], folder: Path | None = None) -> bool:
    """Keep the weights of a module, with their hash and what `card` says of them; whether they are kept now.

    Where the folder cannot be written nothing is kept: what was trained still serves this process.

    Args:
        folder: where, `cache_folder()` if None.
    """
    final = _folder(name) if folder is None else folder / name
    partial = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
        save_file({key: t.cpu().contiguous() for key, t in module.state_dict().items()}, partial / _WEIGHTS)
        text = json.dumps(card | {"name": name, "sha256": sha256(partial / _WEIGHTS)}, indent=1)
        (partial / _CARD).write_text(text + "\n", encoding="utf-8")
        if _weights(final) is None:  # else another process was faster
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
    except (OSError, SafetensorError):
        return False
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return True
