"""Shipped operators: made by one command, small, certified after rounding, loaded by name in float32."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import idemlab
from idemlab import BadInput, Run
from idemlab.objective.parts import Parts
from idemlab.sharing import rounding
from idemlab.sharing.rounding import packed_size, write_rounded
from idemlab_registry import shipped
from idemlab_registry.plugin import OPERATORS

MADE = OPERATORS / "digits-projector"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with a genuine projection; not to be written to."""
    table = {
        "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
        "model": {"name": "linear", "init": "spectrum", "rank": 2},
        "enforcer": {"name": "cubic-projection"},
        "training": {"steps": 12, "batch_size": 16},
        "optimizer": {"name": "sgd", "lr": 0.0},
        "evaluation": {"rank_points": 2, "metrics": ["reconstruction-error"]},
    }
    return idemlab.train(table, tmp_path_factory.mktemp("shipped") / "mlp-cubic", progress=False)


def test_one_command_makes_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped.ship, "__defaults__", (None, tmp_path))
    assert shipped.main([str(run.path)]) == 0
    made = Run(tmp_path / "mlp-cubic")
    assert f"{made.path}: 0.0" in (said := capsys.readouterr().out)
    assert "rounded to float16" in said
    assert sorted(path.name for path in made.path.iterdir()) == [
        *("certificate.json", "environment.json", "experiment.toml", "operator.safetensors")
    ]
    assert {t.dtype for t in load_file(made.weights_file).values()} == {torch.float16}
    operator, original = idemlab.load(made), idemlab.load(run)
    for (name, p), q in zip(operator.named_parameters(), original.parameters(), strict=True):
        assert p.dtype == torch.float32, name
        assert torch.equal(p, q.half().float())
    certificate = made.certificate
    assert certificate is not None
    assert run.certificate is not None
    test = idemlab.resolve(run.experiment_file).dataset.build().test
    x = test.__getitems__(list(range(len(test)))).input
    with torch.no_grad():
        y = operator(x)
        assert certificate["inputs"]["data"]["absolute"][0] == pytest.approx(float((operator(y) - y).abs().mean()))
    assert certificate["inputs"]["data"]["absolute"] != run.certificate["inputs"]["data"]["absolute"]
    assert certificate["steps"] == run.certificate["steps"]
    assert shipped.main([str(run.path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_operator_is_that_of_the_run_even_if_these_data_would_make_another(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters of data, found anew, may be of another number."""
    assemble = rounding.assemble

    def of_other_clusters(experiment: idemlab.Experiment) -> Parts:
        parts = assemble(experiment)
        parts.objective.operator = torch.nn.Linear(3, 3)
        return parts

    monkeypatch.setattr(rounding, "assemble", of_other_clusters)
    assert write_rounded(run, tmp_path / "small", largest=10**7).certificate


def test_what_cannot_be_shipped_is_refused_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the operator takes .* MB in a wheel, and the limit is 0\.0001 MB"):
        write_rounded(run, tmp_path / "small", largest=100)
    with pytest.raises(BadInput, match="there is no experiment 'nothing'"):
        shipped.ship(run, "nothing", tmp_path)
    shutil.copytree(run.path, tmp_path / "wrong")
    wrong = Run(tmp_path / "wrong")
    wrong.certificate_file.write_text(
        wrong.certificate_file.read_text().replace('"verdict": "genuine"', '"verdict": "constant"')
    )
    with pytest.raises(BadInput, match="is 'constant'"):
        shipped.ship(wrong, "mlp-cubic", tmp_path)
    wrong.certificate_file.unlink()
    with pytest.raises(BadInput, match="is not finished"):
        shipped.ship(wrong, "mlp-cubic", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["wrong"]


def test_digits_projector_is_shipped(tmp_path: Path) -> None:
    assert packed_size(MADE) < shipped.LARGEST
    certificate = Run(MADE).certificate
    assert certificate is not None
    assert certificate["verdict"] == "genuine"
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "in" / "a.png")
    assert len(idemlab.apply("digits-projector", tmp_path / "in", tmp_path / "out")) == 1
    assert next(idemlab.load("digits-projector").parameters()).dtype == torch.float32
