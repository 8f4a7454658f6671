"""What training writes into a run folder when it begins and when it ends."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .catalog import Catalog
from .checkpoint import write_weights
from .dataset import Dataset
from .environment import describe_environment
from .evaluation import Evaluation
from .orbit import Operator
from .preflight import Plan
from .run import Run

__all__ = ["write_circumstances", "write_outcome"]


def write_circumstances(run: Run, catalog: Catalog, plan: Plan, device: torch.device, processes: int) -> None:
    """environment.json: what the run is made with, and what the preflight found out."""
    facts = asdict(plan)
    facts.pop("traits")
    _write_json(run.environment_file, describe_environment(catalog, device, processes) | {"plan": facts})


def write_outcome(
    run: Run, operator: Operator, dataset: Dataset, evaluation: Evaluation, plan: Plan, remark: str = ""
) -> None:
    """operator.safetensors and, last, certificate.json: with it the run is finished.

    Args:
        remark: a further sentence for the verdict.
    """
    # One key: safetensors keeps several in no fixed order, and equal runs shall leave equal bytes.
    sample = {"shape": dataset.shape, "range": dataset.range}
    write_weights(run.weights_file, operator, {"sample": json.dumps(sample)})
    certificate = {
        "verdict": evaluation.verdict.value,
        "sentence": f"{evaluation.verdict.sentence} {remark}".strip(),
        "steps": plan.steps,
        "flops": plan.steps * plan.flops_per_step,
        "inputs": {
            name: c.as_dict() | {"figures": evaluation.figures[name]} for name, c in evaluation.certificates.items()
        },
    }
    _write_json(run.certificate_file, certificate)


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(partial, path)
