"""`push`, `export` and `apply` by name, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from idemlab.system import hub

Idemlab = Callable[..., Result]


@pytest.fixture(autouse=True)
def _with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


def test_push_asks_for_a_licence_as_an_option(idemlab: Idemlab, finished: Path) -> None:
    done = idemlab("push", finished, "me/tiny")
    assert done.exit_code == 2
    assert "a model card needs a licence" in done.stderr
    assert "--license mit" in done.stderr


def test_push_prints_the_address(idemlab: Idemlab, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def create_repo(self, name: str, **options: object) -> None: ...

        def upload_folder(self, **options: object) -> None: ...

    monkeypatch.setattr(hub, "api", Hub)
    done = idemlab("push", finished, "me/tiny", "--license", "mit", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"address": "https://huggingface.co/me/tiny"})
    assert 'idemlab.load("me/tiny")' in idemlab("push", finished, "me/tiny", "--license", "mit").stdout


@pytest.mark.long
def test_export_prints_the_difference(idemlab: Idemlab, finished: Path, here: Path) -> None:
    done = idemlab("export", finished, "--to", "torch-export", "--out", "tiny.pt2")
    assert done.exit_code == 0
    assert "Exported: tiny.pt2" in done.stdout
    assert "the largest difference is" in done.stdout
    assert (here / "tiny.pt2").is_file()
    again = idemlab("export", finished, "--to", "torch-export", "--out", "tiny.pt2")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    done = idemlab("export", finished, "--to", "torch-export", "--out", "tiny.pt2", "--overwrite", "--json")
    assert json.loads(done.stdout)["inputs"] == {"data": 32, "noise": 32}


def test_apply_takes_a_name(idemlab: Idemlab, here: Path) -> None:
    done = idemlab("apply", "digits-projektor", "in", "out")
    assert done.exit_code == 2
    assert "there is no operator 'digits-projektor'" in done.stderr
