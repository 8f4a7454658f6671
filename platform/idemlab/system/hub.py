"""All access to the Hugging Face hub: downloads, uploads, and the messages when they fail.

The token is left to huggingface_hub, which reads it from the variable HF_TOKEN or from where ``hf auth login`` put it.
It is never stored, passed on or printed here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput, Failure, IdemlabError
from ..wording import clipped

__all__ = ["check_token", "fetch", "is_hub_name", "publish"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_LOGIN = "log in with 'hf auth login', or set the variable HF_TOKEN; huggingface.co/settings/tokens makes a token"


def is_hub_name(text: str) -> bool:
    """Whether a text has the form of a name on the hub, ``owner/name``."""
    return _NAME.fullmatch(text) is not None and "--" not in text and ".." not in text


def api() -> Any:
    """The client of the hub, through which every request goes."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(library_name="idemlab")


def token() -> str | None:
    """The token that huggingface_hub would use."""
    import huggingface_hub

    return huggingface_hub.get_token()


def check_token() -> None:
    """Check that there is a token; whether it may write, only the hub knows.

    Raises:
        BadInput: if there is none.
    """
    if not token():
        raise BadInput(
            "there is no token for the Hugging Face hub", expected="a token that may write", next_step=_LOGIN
        )


def fetch(name: str, files: Sequence[str]) -> Path:
    """The folder with these files of a repository, downloaded or from the cache. Files that it lacks are missing there.

    Raises:
        BadInput: if the hub has no repository of this name that you may read.
        Failure: if the hub cannot be reached.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError

    client = api()
    try:
        return Path(client.snapshot_download(name, allow_patterns=list(files)))
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"the hub has no operator '{name}' that you may read",
            expected="a folder, the name of a shipped operator, or a name on the hub (owner/name)",
            next_step="correct the name, or log in with 'hf auth login' if it is private",
        ) from error
    except Exception as error:  # the network fails in many ways: OSError, the errors of the HTTP client, a full disk
        offline = isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled))
        why = "it is not in the cache, and the hub cannot be reached" if offline else _reason(error)
        raise Failure(
            f"there is no folder '{name}', and the operator of that name cannot be fetched from the hub: {why}",
            next_step="correct the path, or check the network and that HF_HUB_OFFLINE is not set",
        ) from error


def publish(folder: Path, name: str, *, private: bool, update: bool, message: str) -> str:
    """Upload a folder in one commit; returns its address. A repository made for it is removed again if that fails.

    Args:
        update: add a commit to a repository that exists, instead of making a new one.
        message: of the commit.

    Raises:
        BadInput: if the token is refused, or the repository exists and is not to be updated.
        Failure: if the hub cannot be reached, or refuses.
    """
    client, made = api(), False
    try:
        if not update:
            client.create_repo(name, private=private, exist_ok=False)
            made = True
        client.upload_folder(repo_id=name, folder_path=str(folder), commit_message=message)
    except BaseException as error:
        if made:
            _remove(client, name)
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        raise _refusal(error, name, update=update) from None
    return f"https://huggingface.co/{name}"


def _remove(client: Any, name: str) -> None:
    """Remove the empty repository that was made for an upload that failed."""
    try:
        client.delete_repo(name, missing_ok=True)
    except Exception as error:  # the reason of the upload's failure is the one to tell
        del error


def _refusal(error: Exception, name: str, *, update: bool) -> IdemlabError:
    """The message for an upload that failed. The error itself is left out, since it may hold the request with its token."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 409 and not update:
        return BadInput(
            f"'{name}' exists on the hub already",
            next_step="choose another name, or add a commit to it (`update`)",
        )
    if status == 404 and update:
        return BadInput(f"the hub has no repository '{name}' to update", next_step="leave `update` out to make it")
    if status in (401, 403):
        return BadInput(
            f"the hub refuses the token for '{name}'", expected="a token that may write there", next_step=_LOGIN
        )
    offline = isinstance(error, OfflineModeIsEnabled)
    why = "HF_HUB_OFFLINE is set" if offline else _reason(error)
    return Failure(
        f"'{name}' cannot be pushed to the hub: {why}",
        next_step="unset HF_HUB_OFFLINE" if offline else "check the network, and push again",
    )


def _reason(error: Exception) -> str:
    """An error in one line, without the token."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    secret = token()
    return clipped(text.replace(secret, "***") if secret else text, 300)
