"""Export a trained operator to ONNX or torch.export, checked against the operator on the run's own inputs."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..contracts.dataset import Batch
from ..contracts.orbit import Operator, applied
from ..errors import BadInput, Failure, nearest_match
from ..objective.evaluation import evaluation_batch, evaluation_inputs
from ..objective.parts import build_inputs
from ..runs.run import Run
from ..system.files import replacing
from ..wording import clipped, counted, listed, shown
from .folding import folded

__all__ = ["Exported", "Format", "export"]

Format = Literal["onnx", "torch-export"]
_ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}
_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch-export": ()}
_INPUTS = 256
"""Largest number of samples of each set of inputs at which the exported operator is compared."""
_TOLERANCE = 1e-5
"""Largest difference, as a share of the largest value of f(x), or absolute where that is below 1."""
_EXAMPLE = 3
"""Batch size of the example. Sizes 0 and 1 would be taken for constants."""
_SIZES = (1, 7, 64)
"""Batch sizes in turn, to see that any size works."""

Callee = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported operator, and how far it differs from the original.

    Args:
        path: of the file.
        format: "onnx" or "torch-export".
        inputs: name of each set of inputs -> number of samples that were compared.
        largest: largest |difference| of any value.
        mean: mean |difference|.
        scale: largest |f(x)|.
    """

    path: Path
    format: str
    inputs: dict[str, int]
    largest: float
    mean: float
    scale: float

    @property
    def sentence(self) -> str:
        """In plain words."""
        counts = listed([f"{counted(count, 'input')} '{name}'" for name, count in self.inputs.items()])
        return (
            f"At {counts}, in batches of {listed([str(size) for size in _SIZES])}, the largest difference is "
            f"{self.largest:.2g} and the mean one {self.mean:.2g}; the largest value of f(x) is {self.scale:.3g}."
        )


def export(
    run: Run | str | Path, to: Format = "onnx", *, out: str | Path | None = None, overwrite: bool = False
) -> Exported:
    """Write the operator of a run for other programs, with any batch size.

    The file takes x [N, *shape], or x and the condition, and gives f(x). It is compared with the operator at up to 256
    samples of each set of the run's evaluation inputs; if the two differ by more than 1e-5, it is not written.

    Args:
        run: a run, its folder, or the name of an operator, as for `idemlab.load`. Its data set must be here.
        to: "onnx", for onnxruntime and others, or "torch-export", for torch without idemlab (``torch.export.load(file)``).
        out: file to write; by default ``operator.onnx`` or ``operator.pt2`` in the folder of the run, and for a named
            operator ``NAME.onnx`` or ``NAME.pt2`` in the working directory.
        overwrite: replace an existing file.

    Raises:
        BadInput: if there is no such operator or format, a package is missing, or the file exists.
        Failure: if the format cannot hold the operator, or what is exported differs from it.
    """
    if to not in _ENDINGS:
        raise BadInput(
            f"cannot export to {shown(to)}",
            where="to",
            choices=get_args(Format),
            nearest=nearest_match(str(to), _ENDINGS),
        )
    _check_packages(to)
    if out is not None:
        path = Path(out)
    elif isinstance(run, str) and not Path(run).is_dir():
        path = Path(re.split("[/:]", run)[-1] + _ENDINGS[to])
    else:
        path = (run.path if isinstance(run, Run) else Path(run)) / f"operator{_ENDINGS[to]}"
    run = run if isinstance(run, Run) else Run.find(run)
    if path.is_dir() or (path.exists() and not overwrite):
        raise BadInput(
            f"'{path}' {'is a folder' if path.is_dir() else 'exists already'}",
            where="out",
            next_step="choose another file" + ("" if path.is_dir() else ", or replace it (`overwrite`)"),
        )
    operator = run.operator()
    parts = build_inputs(run.experiment)
    batch = evaluation_batch(run.experiment, parts, torch.device("cpu"))
    inputs = {
        name: each.rows(slice(0, _INPUTS)) for name, each in evaluation_inputs(run.experiment, parts, batch).items()
    }
    try:
        with replacing(path) as partial:
            _write(operator, inputs["data"].rows(slice(0, _EXAMPLE)), to, partial)
            return _compared(operator, _READERS[to](partial), inputs, to, path)
    except OSError as error:
        raise Failure(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def _check_packages(to: str) -> None:
    missing = [name for name in _PACKAGES[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"exporting to {to} needs {listed(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            next_step="pip install 'idemlab[export]'",
        )


def _arguments(batch: Batch) -> tuple[Tensor, ...]:
    return (batch.input,) if batch.condition is None else (batch.input, batch.condition)


def _write(operator: Operator, example: Batch, to: str, path: Path) -> None:
    """Write the operator, traced at an example with a batch size that is left open.

    Raises:
        Failure: if it cannot be traced, or the format lacks one of its operations.
    """
    arguments = _arguments(example)
    batch = torch.export.Dim("batch", min=1, max=2**31 - 1)
    sizes = tuple({0: batch} for _ in arguments)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            applied(operator, example.input, example.condition)  # what it finds at its first call becomes a constant
            program = torch.export.export(operator, arguments, dynamic_shapes=sizes, strict=False)
            if to == "torch-export":
                torch.export.save(program, path)
                return
            names = ["x", "condition"][: len(arguments)]
            program = torch.export.export(folded(program), arguments, dynamic_shapes=sizes, strict=False)
            made: Any = torch.onnx.export(
                program, input_names=names, output_names=["y"], dynamic_shapes=sizes, dynamo=True, verbose=False
            )
            made.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:  # whatever tracing meets in the code of a model
        raise Failure(
            f"the operator cannot be exported to {to}: {_reason(error)}",
            expected="a model whose forward does the same operations for all values and batch sizes",
            next_step="docs/sharing.md lists what can be exported",
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of the error behind an error: torch wraps it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return clipped(line.strip(), 200)


def _read_onnx(path: Path) -> Callee:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def call(*arguments: Tensor) -> Tensor:
        fed = {name: t.numpy() for name, t in zip(names, arguments, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return call


def _read_torch(path: Path) -> Callee:
    module: Callee = torch.export.load(path).module()
    return module


_READERS: dict[str, Callable[[Path], Callee]] = {"onnx": _read_onnx, "torch-export": _read_torch}


@torch.no_grad()
def _compared(operator: Operator, exported: Callee, inputs: dict[str, Batch], to: str, path: Path) -> Exported:
    """What was exported, beside the operator, at all inputs.

    Raises:
        Failure: if they differ.
    """
    gaps, values = [], []
    for batch in inputs.values():
        start, turn = 0, 0
        while start < len(batch):
            size = _SIZES[turn % len(_SIZES)]
            part = batch.rows(slice(start, start + size))
            expected = applied(operator, part.input, part.condition)
            got = exported(*_arguments(part))
            if got.shape != expected.shape:
                raise Failure(
                    f"exported to {to}, the operator gives shape {list(got.shape)} in place of {list(expected.shape)}",
                    next_step="do not fix the batch size in the model's forward",
                )
            gaps.append((got.double() - expected.double()).abs().flatten())
            values.append(expected.abs().max())
            start, turn = start + size, turn + 1
    gap, scale = torch.cat(gaps), float(torch.stack(values).max())
    largest = float(gap.max())
    if not largest <= _TOLERANCE * max(1.0, scale):
        raise Failure(
            f"exported to {to}, the operator differs by {largest:.2g} at its own inputs, where f(x) is at most {scale:.3g}",
            expected=f"a difference of at most {_TOLERANCE:g}",
            next_step="nothing was written; docs/sharing.md lists what can be exported",
        )
    return Exported(
        path=path,
        format=to,
        inputs={name: len(batch) for name, batch in inputs.items()},
        largest=largest,
        mean=float(gap.mean()),
        scale=scale,
    )
