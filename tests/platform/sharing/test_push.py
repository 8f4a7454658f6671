"""An operator goes to the hub with its card, whole or not at all, and comes back from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

import idemlab
from idemlab import BadInput, Failure, Run, push
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


def test_what_is_pushed_can_be_loaded_and_applied(
    projector: Path, tmp_path: Path, fake: FakeHub, plane: dict[str, Any]
) -> None:
    address = push(projector, "me/plane", license="mit", private=True)
    assert address == "https://huggingface.co/me/plane"
    assert fake.calls == ["create me/plane privately", "upload me/plane: experiment, pushed by idemlab"]
    assert {path.name for path in (fake.folder / "me/plane").rglob("*") if path.is_file()} == {
        *("README.md", "experiment.toml", "operator.safetensors", "certificate.json", "environment.json", "hero.png")
    }
    x = torch.randn(5, 4)
    with torch.no_grad():
        assert torch.equal(idemlab.load("me/plane")(x), idemlab.load(projector)(x))
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", x[0].numpy())
    assert len(idemlab.apply("me/plane", tmp_path / "in", tmp_path / "out")) == 1
    started = idemlab.resolve(plane | {"model": {"name": "linear", "weights": "me/plane"}})
    assert started.start.file() == fake.folder / "me/plane" / "operator.safetensors"


def test_the_card_says_what_it_is_and_how_to_load_it(projector: Path, fake: FakeHub) -> None:
    push(projector, "me/plane", license="cc-by-4.0")
    card = (fake.folder / "me/plane/README.md").read_text()
    front, _, rest = card.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines()[:2] == ["license: cc-by-4.0", "library_name: idemlab"]
    certificate = Run(projector).certificate
    assert certificate is not None
    for told in (
        "# plane\n\nA projection of the plane.\n",
        f"**Verdict: genuine.** {certificate['sentence']}",
        "](figures/hero.png)",
        "| data | ",
        "| noise | ",
        "2 / 4",
        "| reconstruction error | ",
        'f = idemlab.load("me/plane")',
        "x is a tensor [N, 4]",
    ):
        assert told in rest
    tables = [line.count("|") for line in rest.splitlines() if line.startswith(("| inputs", "| data"))]
    assert len(set(tables)) == 1


def test_a_second_push_is_an_update_only_if_asked_for(projector: Path, fake: FakeHub) -> None:
    push(projector, "me/plane", license="mit")
    with pytest.raises(BadInput, match="'me/plane' exists on the hub already") as caught:
        push(projector, "me/plane", license="mit")
    assert "`update`" in str(caught.value)
    push(projector, "me/plane", license="apache-2.0", update=True)
    assert "license: apache-2.0" in (fake.folder / "me/plane/README.md").read_text()
    with pytest.raises(BadInput, match="no repository 'me/other' to update"):
        push(projector, "me/other", license="mit", update=True)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"license": None}, "a model card needs a licence"),
        ({"license": "MIT License"}, "is not the identifier of a licence"),
        ({"name": "plane"}, "'plane' is not a valid name on the hub"),
        ({"name": "../plane"}, "is not a valid name on the hub"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], what: str, projector: Path, fake: FakeHub
) -> None:
    with pytest.raises(BadInput, match=what):
        push(projector, **({"name": "me/plane", "license": "mit"} | arguments))
    assert fake.calls == []


def test_a_run_that_is_not_finished_or_damaged_is_refused(projector: Path, tmp_path: Path, fake: FakeHub) -> None:
    shutil.copytree(projector, tmp_path / "run")
    run = Run(tmp_path / "run")
    run.certificate_file.unlink()
    with pytest.raises(BadInput, match="is not finished"):
        push(run, "me/plane", license="mit")
    content = bytearray(run.weights_file.read_bytes())
    content[-1] ^= 1
    run.weights_file.write_bytes(content)
    with pytest.raises(Failure, match="the weights have changed"):
        push(run, "me/plane", license="mit")
    run.weights_file.unlink()
    with pytest.raises(BadInput, match="has no trained operator yet"):
        push(run, "me/plane", license="mit")
    assert fake.calls == []


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (http_error(401, f"Bearer {TOKEN}"), BadInput, "the hub refuses the token"),
        (http_error(500, f"a fault; token={TOKEN}"), Failure, r"cannot be pushed to the hub: .*token=\*\*\*"),
        (ConnectionError("Name or service not known"), Failure, "cannot be pushed to the hub: ConnectionError: Name"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_push_that_fails_leaves_nothing_and_tells_no_token(
    error: Any, kind: type[BaseException], what: str | None, projector: Path, fake: FakeHub
) -> None:
    fake.fails = error
    with pytest.raises(kind, match=what) as caught:
        push(projector, "me/plane", license="mit")
    assert TOKEN not in str(caught.value)
    assert fake.calls[-1] == "delete me/plane"
    assert not (fake.folder / "me/plane").exists()


def test_without_a_token_nothing_is_sent(projector: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "token", lambda: None)
    with pytest.raises(BadInput, match="there is no token for the Hugging Face hub") as caught:
        push(projector, "me/plane", license="mit")
    assert "hf auth login" in str(caught.value)
    assert fake.calls == []


def test_paths_of_this_machine_are_told(tmp_path: Path, projector: Path, fake: FakeHub, plane: dict[str, Any]) -> None:
    shutil.copytree(projector, tmp_path / "run")
    experiment = idemlab.resolve(plane | {"model": plane["model"] | {"weights": str(projector)}})
    (tmp_path / "run" / "experiment.toml").write_text(experiment.to_toml())
    heard: list[str] = []
    push(tmp_path / "run", "me/plane", license="mit", message=heard.append)
    assert heard == ["experiment.toml will be public, and contains paths on this machine: model.weights"]


# -- names ------------------------------------------------------------------------------------------------------------------


def test_names_are_looked_up_as_folder_then_shipped_then_on_the_hub(
    projector: Path,
    tmp_path: Path,
    fake: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    plane: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = idemlab.ExperimentSpec(name="plane", factory=lambda: projector, summary="s", operator=projector)
    catalog = idemlab.installed().including(spec)
    assert Run.find("plane", catalog=catalog).path == projector
    weights = idemlab.resolve(plane | {"model": {"name": "linear", "weights": "plane"}}, catalog=catalog).start
    assert (weights.weights, weights.file()) == ("plane", projector / "operator.safetensors")
    shutil.copytree(projector, tmp_path / "plane")
    assert Run.find("plane", catalog=catalog).path == Path("plane")
    assert fake.calls == []
    with pytest.raises(BadInput, match="there is no operator 'plain'") as caught:
        Run.find("plain", catalog=catalog)
    assert caught.value.nearest == "plane"
    with pytest.raises(BadInput, match="the hub has no operator 'me/gone'"):
        idemlab.load("me/gone")
    (fake.folder / "me/bare").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"holds no operator of idemlab: it has no experiment.toml and no operator"):
        idemlab.load("me/bare")


def test_a_misspelt_run_is_not_looked_for_on_the_hub(
    projector: Path, tmp_path: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(projector, tmp_path / "runs" / "plane")
    for reference in ("runs/plain", "./plain/x", "a/b/c", tmp_path / "me" / "x"):
        with pytest.raises(BadInput, match="holds no run"):
            idemlab.load(reference)
    assert fake.calls == []


LOAD = """
import idemlab, torch
print(idemlab.load("me/plane")(torch.ones(1, 4)).shape)
try:
    idemlab.load("me/gone")
except idemlab.Failure as error:
    print(error)
try:
    idemlab.push("run", "me/plane", license="mit")
except idemlab.IdemlabError as error:
    print(error)
"""


@pytest.mark.long
def test_a_folder_in_the_layout_of_the_hub_is_loaded_without_a_network(projector: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--me--plane"
    shutil.copytree(projector, repository / "snapshots" / "abc", ignore=shutil.ignore_patterns("checkpoints", ".lock"))
    shutil.copytree(projector, tmp_path / "run")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    variables = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    shape, rest = done.stdout.split("\n", 1)
    assert shape == "torch.Size([1, 4])"
    assert "there is no folder 'me/gone', and the operator of that name cannot be fetched from the hub" in rest
    assert "'me/plane' cannot be pushed to the hub: HF_HUB_OFFLINE is set" in rest
    assert TOKEN not in done.stdout + done.stderr
    assert json.loads((tmp_path / "run" / "certificate.json").read_text())["verdict"] == "genuine"
