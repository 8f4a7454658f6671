"""idemlab: the research platform for idempotent neural networks, f(f(x)) = f(x).

Everything public is a name of this module, loaded when first used, so that `import idemlab` stays fast and torch-free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .applying import apply as apply
    from .catalog import Catalog as Catalog
    from .catalog import installed as installed
    from .certificate import Certificate as Certificate
    from .certificate import Verdict as Verdict
    from .certificate import certify as certify
    from .comparison import compare as compare
    from .dataset import Batch as Batch
    from .dataset import Dataset as Dataset
    from .dataset import TensorRows as TensorRows
    from .enforcer import Enforcement as Enforcement
    from .enforcer import Enforcer as Enforcer
    from .errors import BadInput as BadInput
    from .errors import Failure as Failure
    from .errors import IdemlabError as IdemlabError
    from .experiment import Experiment as Experiment
    from .experiment import resolve as resolve
    from .hookspecs import hookimpl as hookimpl
    from .metric import Metric as Metric
    from .objective import Objective as Objective
    from .orbit import Orbit as Orbit
    from .projection import purify as purify
    from .report import write_report as write_report
    from .results import Results as Results
    from .results import Trial as Trial
    from .run import Run as Run
    from .run import load as load
    from .source import Points as Points
    from .source import Source as Source
    from .specs import DatasetSpec as DatasetSpec
    from .specs import EnforcerKind as EnforcerKind
    from .specs import EnforcerSpec as EnforcerSpec
    from .specs import ExperimentSpec as ExperimentSpec
    from .specs import MetricSpec as MetricSpec
    from .specs import ModelSpec as ModelSpec
    from .specs import SourceSpec as SourceSpec
    from .specs import StudySpec as StudySpec
    from .specs import Traits as Traits
    from .status import sweep_status as sweep_status
    from .step import Step as Step
    from .study import Claim as Claim
    from .study import Findings as Findings
    from .study import Material as Material
    from .study import Study as Study
    from .studying import run_study as run_study
    from .sweep import Sweep as Sweep
    from .sweeping import open_sweep as open_sweep
    from .sweeping import run_sweep as run_sweep
    from .trainer import train as train

__version__ = "0.1.0"

_HOME = {
    "apply": "applying",
    "Catalog": "catalog",
    "installed": "catalog",
    "Certificate": "certificate",
    "Verdict": "certificate",
    "certify": "certificate",
    "compare": "comparison",
    "Batch": "dataset",
    "Dataset": "dataset",
    "TensorRows": "dataset",
    "Enforcement": "enforcer",
    "Enforcer": "enforcer",
    "BadInput": "errors",
    "Failure": "errors",
    "IdemlabError": "errors",
    "Experiment": "experiment",
    "resolve": "experiment",
    "hookimpl": "hookspecs",
    "Metric": "metric",
    "Objective": "objective",
    "Orbit": "orbit",
    "purify": "projection",
    "write_report": "report",
    "Run": "run",
    "load": "run",
    "Points": "source",
    "Source": "source",
    "DatasetSpec": "specs",
    "EnforcerKind": "specs",
    "EnforcerSpec": "specs",
    "ExperimentSpec": "specs",
    "MetricSpec": "specs",
    "ModelSpec": "specs",
    "SourceSpec": "specs",
    "StudySpec": "specs",
    "Traits": "specs",
    "sweep_status": "status",
    "Step": "step",
    "Claim": "study",
    "Findings": "study",
    "Material": "study",
    "Results": "results",
    "Study": "study",
    "Sweep": "sweep",
    "Trial": "results",
    "run_study": "studying",
    "open_sweep": "sweeping",
    "run_sweep": "sweeping",
    "train": "trainer",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'idemlab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
