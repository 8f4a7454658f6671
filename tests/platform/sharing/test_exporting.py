"""An exported operator is the operator, for any batch size; what cannot be exported says so and leaves no file."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, EnforcerKind, Failure, export
from idemlab.objective.parts import assemble
from idemlab.runs.run import Run
from idemlab.runs.weights import write_weights
from idemlab.sharing import exporting
from idemlab.sharing.folding import folded

IMAGES = {"name": "gaussian", "shape": [1, 16, 16], "train": 64, "test": 256}
FLAT = {"name": "gaussian", "shape": [8], "train": 64, "test": 256}

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "linear": (FLAT, {"name": "linear"}, {}),
    "mlp": (FLAT, {"name": "mlp", "width": 16, "depth": 2, "norm": "layer"}, {}),
    "autoencoder": (IMAGES, {"name": "autoencoder", "channels": 4, "latent": 8}, {}),
    "biorthogonal": (IMAGES, {"name": "biorthogonal"}, {}),
    "quantised": (IMAGES, {"name": "biorthogonal", "cell": 0.5}, {}),
    "coupling": (FLAT, {"name": "coupling"}, {}),
    "linearizer": (FLAT, {"name": "coupling"}, {"name": "linearizer", "rank": 3}),
    "patches": (IMAGES, {"name": "patches"}, {}),
    "conv": (IMAGES, {"name": "conv"}, {}),
    "unet": (IMAGES, {"name": "unet"}, {}),
    "attention": (IMAGES, {"name": "attention"}, {}),
    "limit": (FLAT, {"name": "mlp", "width": 16}, {"name": "limit", "depth": 3}),
    "truncation": (IMAGES, {"name": "patches", "channels": 4, "latent": 8}, {"name": "truncation", "rank": 4}),
    "section": (FLAT, {"name": "mlp", "width": 16}, {"name": "section", "rank": 3}),
    "section of images": (IMAGES, {"name": "unet", "channels": 8}, {"name": "section", "rank": 8}),
    "union": (
        {"name": "digits", "condition": "training"},
        {"name": "patches", "channels": 4, "latent": 8},
        {"name": "hybrid", "enforcers": [{"name": "section", "rank": 3}, {"name": "union"}]},
    ),
    "by class": ({"name": "digits", "condition": "label"}, {"name": "patches", "channels": 4, "latent": 8}, {}),
}
"""Data, model and enforcer of everything that is shipped and can be exported, on small samples."""


def make_run(folder: Path, table: dict[str, Any]) -> Run:
    """A run with an operator that is not trained."""
    experiment = idemlab.resolve(table)
    parts, run = assemble(experiment), Run(folder)
    folder.mkdir(parents=True)
    run.experiment_file.write_text(experiment.to_toml())
    classes = {} if experiment.condition == "none" else {"classes": parts.dataset.classes}
    sample = json.dumps({"shape": parts.dataset.shape, "range": parts.dataset.range} | classes)
    write_weights(run.weights_file, parts.objective.operator, {"sample": sample})
    return run


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name if name in ("mlp", "by class") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_it_is_exported_exactly(name: str, to: exporting.Format, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    dataset, model, enforcer = MODELS[name]
    table: dict[str, Any] = {"dataset": dataset, "model": model, "training": {"steps": 1}}
    run = make_run(tmp_path / "run", table | ({"enforcer": enforcer} if enforcer else {}))
    done = export(run, to)
    assert done.inputs == {"data": 256, "noise": 256}
    assert done.scale > 0.01
    assert done.largest <= 1e-5 * max(1.0, done.scale)
    assert [path.name for path in run.path.glob("operator.[op]*")] == [done.path.name]


def test_the_table_has_every_shipped_model_and_every_enforcer_that_wraps_one() -> None:
    ours = {e.spec.name for e in idemlab.installed().entries("model") if e.plugin.distribution == "idemlab"}
    assert ours == {model["name"] for _, model, _ in MODELS.values()}
    enforcers = [e for e in idemlab.installed().entries("enforcer") if e.plugin.distribution == "idemlab"]
    wrapping = {e.spec.name for e in enforcers if EnforcerKind.ARCHITECTURE in getattr(e.spec.traits, "kinds", ())}
    shown = [each for _, _, enforcer in MODELS.values() for each in enforcer.get("enforcers", [enforcer])]
    assert wrapping == {each["name"] for each in shown if each}


# -- files ------------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_files_are_written_where_asked_and_never_over_others(
    projector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(projector, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert export("run", "torch-export").path == Path("run/operator.pt2")
    with pytest.raises(BadInput, match=r"'run/operator\.pt2' exists already"):
        export("run", "torch-export")
    assert export("run", "torch-export", overwrite=True).path == Path("run/operator.pt2")
    done = export("run", "torch-export", out="mine.pt2")
    assert "At 32 inputs 'data' and 32 inputs 'noise'" in done.sentence
    x = torch.randn(11, 4)
    with torch.no_grad():
        y = torch.export.load("mine.pt2").module()(x)
        assert torch.allclose(y, idemlab.load("run")(x), atol=1e-6)
    with pytest.raises(BadInput, match="'run' is a folder"):
        export("run", "torch-export", out="run", overwrite=True)
    spec = idemlab.ExperimentSpec(name="plane", factory=lambda: projector, summary="s", operator=projector)
    monkeypatch.setattr("idemlab.runs.run.installed", lambda: idemlab.installed().including(spec))
    assert export("plane", "torch-export").path == Path("plane.pt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.pt2", "plane.pt2", "run"]


def test_bad_input_is_refused(projector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match='cannot export to "onyx"') as caught:
        export(projector, "onyx")  # type: ignore[arg-type]
    assert caught.value.nearest == "onnx"
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(BadInput, match="exporting to onnx needs onnxruntime, which is not installed") as caught:
        export(projector, "onnx")
    assert caught.value.next_step == "pip install 'idemlab[export]'"


class Fickle(nn.Module):
    """Does something else for each sign of the first value, which no trace can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x if float(x.flatten()[0]) > 0 else -x


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x + 0.01 * torch.rand_like(x)


@pytest.mark.parametrize(
    ("module", "what"), [(Fickle, "cannot be exported to torch-export"), (Noisy, "differs by .* at its own inputs")]
)
def test_what_cannot_be_exported_says_so_and_leaves_nothing(
    module: type[nn.Module], what: str, tmp_path: Path, plane: dict[str, Any]
) -> None:
    table: dict[str, Any] = plane | {"enforcer": "none", "training": {"steps": 1, "batch_size": 16}}
    table |= {"evaluation": {"rank_points": 0}, "model": None}
    table.pop("model")
    run = idemlab.train(table, tmp_path / "run", model=module(), progress=False)
    before = sorted(run.path.iterdir())
    with pytest.raises(Failure, match=what):
        export(run, "torch-export")
    assert sorted(run.path.iterdir()) == before


def test_an_iteration_to_the_end_cannot_be_exported(tmp_path: Path) -> None:
    """docs/sharing.md says so."""
    table: dict[str, Any] = {"dataset": FLAT, "model": "mlp", "enforcer": "limit", "training": {"steps": 1}}
    run = make_run(tmp_path / "run", table)
    with pytest.raises(Failure, match="cannot be exported to torch-export"):
        export(run, "torch-export")
    assert not list(run.path.glob("operator.[op]*"))


@pytest.mark.long
def test_linear_systems_of_weights_become_products() -> None:
    class Solving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            y = torch.linalg.solve(self.a, x.T).T + torch.linalg.solve(self.a, x, left=False)
            y = y + torch.linalg.solve_triangular(self.a, x.T, upper=True).T
            return y + torch.linalg.solve_triangular(self.a, x, upper=False, left=False, unitriangular=True)

    module, x = Solving(), torch.randn(5, 4)
    sizes = ({0: torch.export.Dim("batch")},)
    made = folded(torch.export.export(module, (x[:3],), dynamic_shapes=sizes, strict=False))
    assert not [node for node in made.graph.nodes if "solve" in str(node.target)]
    assert torch.allclose(made(x), module(x), atol=1e-5)
