"""A finished run, and a hub that is a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

import idemlab
from idemlab.system import hub

TOKEN = "hf_averysecrettoken0123456789"


class Response:
    """As much of an answer of the hub as its errors read."""

    def __init__(self, status: int) -> None:
        self.status_code, self.headers, self.request, self.text = status, {"authorization": TOKEN}, None, ""


def http_error(status: int, text: str = "") -> HfHubHTTPError:
    kind = RepositoryNotFoundError if status == 404 else HfHubHTTPError
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    error.response = Response(status)  # type: ignore[assignment]
    return error


class FakeHub:
    """The client of the hub, over a folder; `fails` is raised by the upload."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.fails = folder, list[str](), None

    fails: Exception | None

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self.calls.append(f"create {name}{' privately' if private else ''}")
        if (self.folder / name).exists() and not exist_ok:
            raise http_error(409)
        (self.folder / name).mkdir(parents=True)

    def delete_repo(self, name: str, *, missing_ok: bool) -> None:
        self.calls.append(f"delete {name}")
        shutil.rmtree(self.folder / name)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.calls.append(f"upload {repo_id}: {commit_message}")
        if self.fails is not None:
            raise self.fails
        if not (self.folder / repo_id).exists():
            raise http_error(404)
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)

    def snapshot_download(self, name: str, *, allow_patterns: list[str]) -> str:
        self.calls.append(f"download {name}")
        if not (self.folder / name).exists():
            raise http_error(404)
        return str(self.folder / name)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub in place of the real one, for somebody with a token."""
    made = FakeHub(tmp_path / "hub")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "api", lambda: made)
    yield made
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


TABLE: dict[str, Any] = {
    "summary": "A projection\nof the plane.",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "linear", "init": "spectrum", "rank": 2},
    "enforcer": {"name": "cubic-projection"},
    "training": {"steps": 12, "batch_size": 16},
    "optimizer": {"name": "sgd", "lr": 0.0},
    "evaluation": {"rank_points": 2, "metrics": ["reconstruction-error"]},
}


@pytest.fixture(scope="session")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with a genuine projection; not to be written to."""
    run = idemlab.train(TABLE, tmp_path_factory.mktemp("projector") / "mlp-cubic", progress=False)
    assert run.certificate is not None
    assert run.certificate["verdict"] == "genuine"
    run.figures.mkdir()
    (run.figures / "hero.png").write_bytes(b"png")
    return run.path
