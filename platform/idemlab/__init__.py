"""idemlab: the research platform for idempotent neural networks, f(f(x)) = f(x).

Everything public is a name of this module, loaded when first used, so that `import idemlab` stays fast and torch-free.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmarks.benchmark import bench as bench
    from .benchmarks.profiling import Profile as Profile
    from .benchmarks.profiling import profile as profile
    from .benchmarks.result import Benchmark as Benchmark
    from .catalog.catalog import Catalog as Catalog
    from .catalog.catalog import installed as installed
    from .certificate.certificate import Certificate as Certificate
    from .certificate.certificate import certify as certify
    from .certificate.verdict import Verdict as Verdict
    from .contracts.components import principal_components as principal_components
    from .contracts.dataset import Batch as Batch
    from .contracts.dataset import Dataset as Dataset
    from .contracts.dataset import MapStyle as MapStyle
    from .contracts.dataset import TensorRows as TensorRows
    from .contracts.enforcer import DISTANCES as DISTANCES
    from .contracts.enforcer import Enforcement as Enforcement
    from .contracts.enforcer import Enforcer as Enforcer
    from .contracts.enforcer import half_squared_distance as half_squared_distance
    from .contracts.enforcer import l1 as l1
    from .contracts.enforcer import l2 as l2
    from .contracts.enforcer import rows as rows
    from .contracts.hookspecs import hookimpl as hookimpl
    from .contracts.metric import Metric as Metric
    from .contracts.orbit import Operator as Operator
    from .contracts.orbit import Orbit as Orbit
    from .contracts.pixels import IMAGE_SUFFIXES as IMAGE_SUFFIXES
    from .contracts.pixels import Picture as Picture
    from .contracts.pixels import read_image as read_image
    from .contracts.source import Points as Points
    from .contracts.source import Source as Source
    from .contracts.specs import DatasetSpec as DatasetSpec
    from .contracts.specs import EnforcerKind as EnforcerKind
    from .contracts.specs import EnforcerSpec as EnforcerSpec
    from .contracts.specs import ExperimentSpec as ExperimentSpec
    from .contracts.specs import MetricSpec as MetricSpec
    from .contracts.specs import ModelSpec as ModelSpec
    from .contracts.specs import OptimizerSpec as OptimizerSpec
    from .contracts.specs import ScheduleSpec as ScheduleSpec
    from .contracts.specs import SourceSpec as SourceSpec
    from .contracts.specs import StudySpec as StudySpec
    from .contracts.specs import SuiteSpec as SuiteSpec
    from .contracts.specs import TrackerSpec as TrackerSpec
    from .contracts.specs import Traits as Traits
    from .contracts.step import Step as Step
    from .contracts.step import generator as generator
    from .errors import BadInput as BadInput
    from .errors import Failure as Failure
    from .errors import IdemlabError as IdemlabError
    from .errors import Interrupted as Interrupted
    from .errors import nearest_match as nearest_match
    from .experiment.experiment import Experiment as Experiment
    from .experiment.resolution import resolve as resolve
    from .objective.loose import LooseEnforcer as LooseEnforcer
    from .objective.loose import enforcer as enforcer
    from .objective.objective import Objective as Objective
    from .purification.iteration import Purification as Purification
    from .purification.iteration import purify as purify
    from .purification.purifier import Purifier as Purifier
    from .reports.application import Applied as Applied
    from .reports.application import apply as apply
    from .reports.board import board as board
    from .reports.comparison import compare as compare
    from .reports.page import write_report as write_report
    from .runs.loading import load as load
    from .runs.run import Run as Run
    from .sharing.exporting import Exported as Exported
    from .sharing.exporting import export as export
    from .sharing.push import push as push
    from .standings.league import run_league as run_league
    from .standings.record import League as League
    from .standings.record import TaskTable as TaskTable
    from .standings.standing import Standing as Standing
    from .standings.standing import Stat as Stat
    from .studies.record import run_study as run_study
    from .studies.study import Claim as Claim
    from .studies.study import Findings as Findings
    from .studies.study import Material as Material
    from .studies.study import Study as Study
    from .sweeps.reading import open_sweep as open_sweep
    from .sweeps.results import Results as Results
    from .sweeps.results import Trial as Trial
    from .sweeps.runner import run_sweep as run_sweep
    from .sweeps.status import sweep_status as sweep_status
    from .sweeps.sweep import Sweep as Sweep
    from .training.loop import train as train
    from .watching.watcher import Watcher as Watcher

__version__ = "0.1.0"

_HOME = {
    "bench": "benchmarks.benchmark",
    "Profile": "benchmarks.profiling",
    "profile": "benchmarks.profiling",
    "Benchmark": "benchmarks.result",
    "Catalog": "catalog.catalog",
    "installed": "catalog.catalog",
    "Certificate": "certificate.certificate",
    "certify": "certificate.certificate",
    "Verdict": "certificate.verdict",
    "principal_components": "contracts.components",
    "Batch": "contracts.dataset",
    "Dataset": "contracts.dataset",
    "MapStyle": "contracts.dataset",
    "TensorRows": "contracts.dataset",
    "DISTANCES": "contracts.enforcer",
    "Enforcement": "contracts.enforcer",
    "Enforcer": "contracts.enforcer",
    "half_squared_distance": "contracts.enforcer",
    "l1": "contracts.enforcer",
    "l2": "contracts.enforcer",
    "rows": "contracts.enforcer",
    "hookimpl": "contracts.hookspecs",
    "Metric": "contracts.metric",
    "Operator": "contracts.orbit",
    "Orbit": "contracts.orbit",
    "IMAGE_SUFFIXES": "contracts.pixels",
    "Picture": "contracts.pixels",
    "read_image": "contracts.pixels",
    "Points": "contracts.source",
    "Source": "contracts.source",
    "DatasetSpec": "contracts.specs",
    "EnforcerKind": "contracts.specs",
    "EnforcerSpec": "contracts.specs",
    "ExperimentSpec": "contracts.specs",
    "MetricSpec": "contracts.specs",
    "ModelSpec": "contracts.specs",
    "OptimizerSpec": "contracts.specs",
    "ScheduleSpec": "contracts.specs",
    "SourceSpec": "contracts.specs",
    "StudySpec": "contracts.specs",
    "SuiteSpec": "contracts.specs",
    "TrackerSpec": "contracts.specs",
    "Traits": "contracts.specs",
    "Step": "contracts.step",
    "generator": "contracts.step",
    "BadInput": "errors",
    "Failure": "errors",
    "IdemlabError": "errors",
    "Interrupted": "errors",
    "nearest_match": "errors",
    "Experiment": "experiment.experiment",
    "resolve": "experiment.resolution",
    "LooseEnforcer": "objective.loose",
    "enforcer": "objective.loose",
    "Objective": "objective.objective",
    "Purification": "purification.iteration",
    "purify": "purification.iteration",
    "Purifier": "purification.purifier",
    "Applied": "reports.application",
    "apply": "reports.application",
    "board": "reports.board",
    "compare": "reports.comparison",
    "write_report": "reports.page",
    "load": "runs.loading",
    "Run": "runs.run",
    "Exported": "sharing.exporting",
    "export": "sharing.exporting",
    "push": "sharing.push",
    "run_league": "standings.league",
    "League": "standings.record",
    "TaskTable": "standings.record",
    "Standing": "standings.standing",
    "Stat": "standings.standing",
    "run_study": "studies.record",
    "Claim": "studies.study",
    "Findings": "studies.study",
    "Material": "studies.study",
    "Study": "studies.study",
    "Results": "sweeps.results",
    "Trial": "sweeps.results",
    "open_sweep": "sweeps.reading",
    "run_sweep": "sweeps.runner",
    "sweep_status": "sweeps.status",
    "Sweep": "sweeps.sweep",
    "train": "training.loop",
    "Watcher": "watching.watcher",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'idemlab' has no attribute {name!r}")
    importlib.import_module(".system.heap", __name__).keep_freed_memory()
    if "torch" not in sys.modules:  # what OpenMP, torch, triton and pydantic read when they are loaded
        importlib.import_module(".system.threads", __name__).rest_while_waiting()
        for broken in importlib.import_module(".catalog.unreadable", __name__).spare_imports():
            warnings.warn(f"{broken.what} ({broken.file}). Next: {broken.fix}", stacklevel=2)
    try:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    except Exception as error:
        told = importlib.import_module(".catalog.unreadable", __name__).scan_failure(error)
        if told is None:
            raise
        raise told from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
