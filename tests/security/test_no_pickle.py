"""A pickle can run code when it is loaded: none is written to a file, none is loaded from one, no text is executed.

Exempt are the pipes between a sweep's parent and its own worker processes: `multiprocessing` pickles what goes through them,
and nobody else can write to them.
"""

from __future__ import annotations

import ast
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Sweep, run_sweep, train, write_report
from idemlab_data.hub import hub_dataset
from idemlab_data.torchvision_sets import torchvision_dataset

ROOT = Path(__file__).parents[2]
FILES = sorted(file for root in ("platform", "plugins", "registry") for file in (ROOT / root).rglob("*.py"))
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "tarfile", "yaml", "zipfile"}
ALLOWED = {
    "platform/idemlab/objective/given_data.py": {"import pickle"},
    "platform/idemlab/sweeps/portable.py": {"import pickle"},
    "platform/idemlab/testing/checks/datasets.py": {"import pickle", "pickle.loads"},
    "plugins/idemlab_data/arrays.py": {"import zipfile"},
}
"""Pickles: whether a catalog or a data set can be sent to a worker process. The first two are only written, the third is
read again at once, all in memory. `zipfile`: the error of a damaged npz file is caught."""
LOADERS = {"load", "loads", "safe_load", "full_load", "unsafe_load"}
WHOLE = {"eval", "exec", "compile", "__import__", "torch.save", "torch.hub.load", "runpy.run_path", "runpy.run_module"}
METHODS = {"extractall", "unpack_archive", "read_pickle", "to_pickle", "load_state_dict_from_url"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; what is called or indexed on the way is a question mark."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords)


def faults(source: str) -> Iterator[str]:
    """What stands in a source that can load or write a pickle, unpack an archive, or execute text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy", "pandas"):
                yield from (f"import {a.name}" for a in node.names if a.name in {"load", "save", "read_pickle"})
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        owner, _, last = name.rpartition(".")
        if name in WHOLE or last in METHODS or (owner in MODULES and last in LOADERS):
            yield name
        elif name == "torch.load" and not is_true(node, "weights_only"):
            yield "torch.load without weights_only=True"
        elif any(k.arg == "allow_pickle" and not _is_false(k.value) for k in node.keywords):
            yield f"{name} with allow_pickle"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


FOUND = [
    "import pickle",
    "from pickle import load",
    "import tarfile",
    "import yaml",
    "from torch import load",
    "torch.save(x, path)",
    "torch.load(path)",
    "torch.load(path, weights_only=False)",
    "np.load(path, allow_pickle=True)",
    "np.load(path, allow_pickle=wanted)",
    "numpy.save(path, x, allow_pickle=1)",
    "pandas.read_pickle(path)",
    "table.to_pickle(path)",
    "eval(text)",
    "exec(text)",
    "__import__(name)",
    "open_archive(path).extractall(folder)",
    "shutil.unpack_archive(path)",
    "runpy.run_path(path)",
    "torch.hub.load('a/b', 'c')",
]


def test_the_search_finds() -> None:
    assert not [source for source in FOUND if not list(faults(source))]


HARMLESS = [
    "json.loads(text)",
    "torch.load(path, weights_only=True)",
    "np.load(path, allow_pickle=False)",
    "operator.eval()",
    "load_file(path)",
    "re.compile(text)",
]


def test_the_search_lets_pass() -> None:
    assert not [source for source in HARMLESS if list(faults(source))]


@pytest.mark.long
def test_no_code_of_ours_can_load_a_pickle_unpack_an_archive_or_execute_text() -> None:
    assert len(FILES) > 100
    found = {str(file.relative_to(ROOT)): set(faults(file.read_text(encoding="utf-8"))) for file in FILES}
    assert {name: which for name, which in found.items() if which} == ALLOWED


def is_pickle(content: bytes) -> bool:
    """Whether the bytes are a pickle of protocol 2 or later, to the end."""
    if content[:1] != b"\x80":
        return False
    try:
        return [opcode.name for opcode, _, _ in pickletools.genops(content)][-1] == "STOP"
    except ValueError:
        return False


@pytest.mark.long
def test_runs_and_sweeps_leave_no_pickles(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run")
    write_report(run)
    run_sweep(Sweep(experiment=str(run.experiment_file), over={"optimizer.lr": [1e-3, 1e-2]}), tmp_path / "sweep")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {".safetensors", ".json", ".jsonl", ".toml", ".html", ".png", ".csv", ".parquet", ".log"} <= {
        path.suffix for path in files
    }
    assert any(path.parent.name.startswith("step-") for path in files)
    assert [path for path in files if is_pickle(path.read_bytes()) or zipfile.is_zipfile(path)] == []


def test_the_search_for_pickles_finds_one(tmp_path: Path) -> None:
    import pickle

    import torch

    assert is_pickle(pickle.dumps({"a": 1}))
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    assert zipfile.is_zipfile(tmp_path / "weights.pt")


# -- libraries that would ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSUN", "LSUNClass"])
def test_sets_of_torchvision_that_unpickle_files_of_the_working_folder_are_not_offered(name: str) -> None:
    with pytest.raises(BadInput, match=f"torchvision has no data set '{name}'"):
        torchvision_dataset(name, "data", None, 3, False)


@pytest.mark.parametrize("name", ["pandas", "webdataset", "imagefolder"])
def test_readers_of_the_library_are_no_names_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=f"'{name}' is a file format, not a data set"):
        hub_dataset(name)


def test_cifar_of_a_stranger_is_not_unpickled(tmp_path: Path) -> None:
    """torchvision compares each file with its published hash before it opens any."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(b"cos\nabort\n(tR.")  # would end this process
    with pytest.raises(BadInput, match="not found or corrupted"):
        torchvision_dataset("CIFAR10", str(tmp_path), None, 3, False)
