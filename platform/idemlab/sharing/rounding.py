"""Round a trained operator to half precision, to ship it, with a certificate of the rounded weights."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput, Failure
from ..experiment.start import Start
from ..objective.evaluation import evaluate
from ..objective.fingerprint import fingerprint
from ..objective.parts import assemble
from ..runs.run import Run
from ..runs.weights import write_tensors
from ..runs.writing import write_certificate
from ..system import strict_json
from ..system.files import write_text

__all__ = ["packed_size", "write_rounded"]


def write_rounded(run: Run, folder: Path, *, largest: int) -> Run:
    """Write the operator of a finished run into a new folder, its weights rounded to float16.

    They are loaded in the precision of the run, which represents them exactly.

    The certificate is measured again, with the rounded weights, at the inputs and with the metrics of the run. The folder is
    laid out as a run and appears complete or not at all.

    Args:
        largest: bytes that its files may take together, compressed as in a wheel.

    Raises:
        BadInput: if the folder exists, the run is not finished, or the files are too large.
        Failure: if a weight is too large for float16, or rounding changes the verdict.
    """
    if folder.exists():
        raise BadInput(f"'{folder}' exists already", next_step="remove it, or choose another name")
    before = run.certificate
    weights = {name: _rounded(name, tensor, run) for name, tensor in run.weights().items()}
    if before is None:
        raise BadInput(f"run '{run.path}' is not finished", expected="a run with a certificate", next_step=run.resuming)
    experiment = replace(run.experiment, start=Start())  # its weights replace all that it started from
    parts = assemble(experiment)
    operator = run.operator()  # not that of the parts: clusters of data, found anew, may be of another number
    operator.load_state_dict(weights)
    rank_points = experiment.evaluation.rank_points
    evaluation = evaluate(experiment, parts, operator, torch.device("cpu"), rank_points=rank_points)
    if evaluation.verdict.value != before["verdict"]:
        raise Failure(
            f"rounded to float16, the operator is '{evaluation.verdict.value}', and it was '{before['verdict']}'",
            where=str(run.path),
            next_step="keep the weights in full precision",
        )
    partial = Run(folder.with_name(f"{folder.name}.tmp"), run.catalog)
    shutil.rmtree(partial.path, ignore_errors=True)
    try:
        partial.path.mkdir(parents=True)
        for file in (run.experiment_file, run.environment_file):
            if file.is_file():
                shutil.copyfile(file, partial.path / file.name)
        sample = {key: value for key, value in run.sample.items() if key != "sha256"}
        sample["sha256"] = fingerprint(weights, sample)
        write_tensors(partial.weights_file, weights, {"sample": json.dumps(sample)})
        write_certificate(
            partial,
            evaluation,
            steps=before["steps"],
            flops=before["flops"],
            remark="These are the values of the weights rounded to float16.",
        )
        write_text(partial.certificate_file, strict_json.dumps(_with_short_spectra(partial.certificate or {})))
        size = packed_size(partial.path)
        if size > largest:
            raise BadInput(
                f"the operator takes {size / 1e6:.2f} MB in a wheel, and the limit is {largest / 1e6:g} MB",
                next_step="train a smaller model",
            )
        os.replace(partial.path, folder)
    finally:
        shutil.rmtree(partial.path, ignore_errors=True)
    return Run(folder, run.catalog)


def packed_size(folder: Path) -> int:
    """Bytes that the files of a folder take in a wheel, which compresses each."""
    return sum(len(zlib.compress(file.read_bytes())) for file in folder.iterdir())


def _with_short_spectra(certificate: dict[str, Any]) -> dict[str, Any]:
    """The certificate with the spectra to four digits: they make up nearly all of it."""
    for one in certificate["inputs"].values():
        for spectrum in one["spectra"]:
            for key in ("singular_values", "eigenvalue_moduli"):
                spectrum[key] = spectrum[key] and [float(f"{value:.4g}") for value in spectrum[key]]
    return certificate


def _rounded(name: str, tensor: Tensor, run: Run) -> Tensor:
    """A tensor in float16; whole numbers stay as they are."""
    if not tensor.is_floating_point():
        return tensor
    rounded = tensor.half()
    if not bool(torch.isfinite(rounded).all()):
        raise Failure(f"'{name}' has values that float16 cannot hold", where=str(run.weights_file))
    return rounded
