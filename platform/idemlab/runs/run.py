"""A run: the folder of one experiment, and what can be read from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from ..catalog.catalog import Catalog, installed, or_installed
from ..errors import BadInput, Failure, nearest_match
from ..experiment.condition import IN_TRAINING
from ..experiment.experiment import Experiment
from ..experiment.operators import WEIGHTS, find_operator
from ..experiment.resolution import resolve
from ..system import strict_json
from ..system.files import as_path
from ..wording import clipped, command
from .reading import CertificateFile, Entry, EnvironmentFile, fault

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..contracts.orbit import Operator

__all__ = ["WHICH", "Run", "Which"]

Which = Literal["last", "ema", "best"]
"""Which weights of a run: the last ones, their moving average, or those of the best evaluation."""
WHICH: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True)
class Run:
    """A run folder. Missing files read as None or as empty.

    Args:
        path: of the folder.
        catalog: resolves the names in the experiment; None for the installed plugins.
    """

    path: Path
    catalog: Catalog | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Path, *, catalog: Catalog | None = None) -> Run:
        """The run in a folder.

        Raises:
            BadInput: if the folder holds no run.
        """
        run = cls(as_path(path, "run"), catalog)
        if not run.experiment_file.is_file():
            near = (
                sorted(str(p.parent) for p in run.path.parent.glob("*/experiment.toml"))
                if run.path.parent.is_dir()
                else []
            )
            is_sweep = (run.path / "sweep.toml").is_file()
            raise BadInput(
                f"'{path}' is a sweep, not a run" if is_sweep else f"'{path}' holds no run",
                expected="a folder with experiment.toml",
                choices=near,
                next_step=f"{command('status', path)} shows the sweep" if is_sweep else "idemlab run EXPERIMENT",
            )
        return run

    @classmethod
    def find(cls, reference: str | Path, *, catalog: Catalog | None = None) -> Run:
        """The run in a folder, or a trained operator by its name: a folder first, then a shipped one, then the hub.

        A trained operator is laid out as a run, without checkpoints and log.

        Raises:
            BadInput: if there is no such folder or operator.
            Failure: if the hub cannot be reached.
        """
        return cls.open(find_operator(reference, or_installed(catalog)), catalog=catalog)

    def giving(
        self, *, model: Any = None, dataset: Any = None, source: Any = None, enforcer: Any = None, metrics: Any = None
    ) -> Run:
        """This run with the objects that it was given when it was trained, which its folder cannot hold.

        ``Run.open("runs/mine").giving(model=my_module, dataset=(train, test))`` can be loaded and reported on.

        Raises:
            BadInput: if an object is not the one that the run began with, or if the run took that part by name.
        """
        from ..objective.given import offered, parts_of

        given = parts_of(model=model, dataset=dataset, source=source, enforcer=enforcer, metrics=metrics)
        if not given:
            return self
        _, catalog = offered(given, self.catalog or installed())
        run = Run(self.path, catalog)
        asked = {kind: [t for t in run.experiment.things if t.kind == kind] for kind in ("metric", *given)}
        for key in given:
            things = asked["metric" if key == "evaluation" else key]
            if not any(thing.given for thing in things):
                named = ", ".join(f"'{thing.name}'" for thing in things) or "none"
                raise BadInput(
                    f"this run took its {'metrics' if key == 'evaluation' else key} by name: {named}",
                    where=str(self.experiment_file),
                    next_step="leave the object out",
                )
        return run

    def operator(self, *, which: Which = "last", device: str | torch.device = "cpu") -> Operator:
        """The trained operator, in evaluation mode; see `idemlab.load`."""
        from .operator import trained_operator

        file = self.weights_of(which)
        operator = trained_operator(self.experiment, file, self.sample_of(which), self.resuming)
        try:
            return operator.to(device)
        except (AssertionError, RuntimeError) as error:  # no such device, or a torch that was built without it
            raise BadInput(
                f"the operator cannot be moved to the device '{device}': {clipped(str(error), 200)}",
                where="device",
                next_step="leave `device` out, or move it yourself; idemlab doctor describes this machine",
            ) from error

    def weights(self) -> dict[str, Tensor]:
        """The weights of the trained operator, as they were written.

        Raises:
            Failure: if they are damaged.
        """
        from .operator import trained_weights

        return trained_weights(self.weights_file, self.sample, self.resuming)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def resuming(self) -> str:
        """The command that resumes the run; for a run with given objects, the Python call."""
        if self.catalog is not None and self.catalog.gives:
            return "the same call from Python with resume=True"
        return command("run", self.path, resume=True)

    @property
    def experiment_file(self) -> Path:
        """The resolved experiment."""
        return self.path / "experiment.toml"

    @property
    def metrics_file(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def weights_file(self) -> Path:
        """The trained operator."""
        return self.weights_of("last")

    @property
    def certificate_file(self) -> Path:
        """Certificates and metrics at the end of the run."""
        return self.certificate_of("last")

    def weights_of(self, which: Which) -> Path:
        """The file of the last, averaged (`ema`) or best weights."""
        return self.path / (WEIGHTS if which == "last" else f"operator-{which}.safetensors")

    def certificate_of(self, which: Which) -> Path:
        """The file of the certificates of the last, averaged (`ema`) or best weights."""
        return self.path / ("certificate.json" if which == "last" else f"certificate-{which}.json")

    @property
    def environment_file(self) -> Path:
        """Versions, device and command of the run."""
        return self.path / "environment.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """The folder of the pictures."""
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        """The report, one self-contained page."""
        return self.path / "report.html"

    @cached_property
    def experiment(self) -> Experiment:
        """The resolved experiment, checked against the catalog."""
        return resolve(self.experiment_file, catalog=self.catalog)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All log entries: objects with `step`, `split` ("train" or "evaluation") and numbers.

        Damaged lines are skipped: a crash can leave one at the end.
        """
        entries = []
        if self.metrics_file.is_file():
            for line in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = strict_json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if fault(Entry, entry) is None:
                    entries.append(entry)
        return entries

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The contents of certificate.json, or None while the run is unfinished."""
        return self._json(self.certificate_file, CertificateFile)

    @property
    def certificates(self) -> dict[Which, dict[str, Any]]:
        """The contents of all certificates of a finished run, by their weights: `last` and, if kept, `ema` and `best`."""
        last = self.certificate
        if last is None:
            return {}
        others = {each: self._json(self.certificate_of(each), CertificateFile) for each in WHICH if each != "last"}
        found: dict[Which, dict[str, Any]] = {"last": last}
        return found | {which: content for which, content in others.items() if content is not None}

    @property
    def environment(self) -> dict[str, Any] | None:
        """The contents of environment.json."""
        return self._json(self.environment_file, EnvironmentFile)

    def _json(self, path: Path, form: type[BaseModel]) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = strict_json.loads(path.read_text(encoding="utf-8"))
            wrong = fault(form, content)
            if wrong:
                raise ValueError(wrong)
        except (OSError, ValueError, RecursionError) as error:
            raise Failure(
                f"damaged: {clipped(str(error), 200)}",
                where=str(path),
                next_step=f"write it again: {self.resuming}",
            ) from error
        return content

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, as stored with the weights."""
        return tuple(self.sample["shape"])

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest value of a sample, as stored with the weights."""
        values = self.sample["range"]
        return tuple(values) if values else None

    @property
    def classes(self) -> int | None:
        """Number of classes of the condition, as stored with the weights; None for an operator f(x)."""
        return self.sample.get("classes")

    @property
    def needs_class(self) -> bool:
        """Whether f is f(x, c) and nothing else. An operator with a condition in training only is f(x), or f(x, c)."""
        return self.classes is not None and self.experiment.condition not in IN_TRAINING

    def _repr_html_(self) -> str:
        """What a notebook shows: verdict, errors, spectra, and the pictures of the report."""
        from .card import run_html

        return run_html(self)

    @property
    def sample(self) -> dict[str, Any]:
        """What is stored with the weights: shape and range of a sample, classes of a condition, the hash of the weights."""
        return self.sample_of("last")

    def sample_of(self, which: Which) -> dict[str, Any]:
        """What is stored with the last, averaged (`ema`) or best weights."""
        file = self.weights_of(which)
        if not file.is_file():
            raise self._no_weights(which)
        try:
            with safe_open(file, framework="pt") as opened:
                sample: dict[str, Any] = strict_json.loads(opened.metadata()["sample"])
                return sample
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Failure(f"cannot read the weights: {error}", where=str(file)) from error

    def _no_weights(self, which: Which) -> BadInput:
        """The error for missing weights: not requested, not written yet, or never written."""
        if which not in WHICH:
            return BadInput(
                f"a run has no weights '{clipped(str(which))}'",
                where="which",
                choices=WHICH,
                nearest=nearest_match(str(which), WHICH),
            )
        name, training = self.weights_of(which).name, self.experiment.training
        if which != "last" and not getattr(training, which):
            return BadInput(
                f"run '{self.path}' keeps no {'average' if which == 'ema' else 'best weights'}",
                expected=name,
                next_step=f"train it again with training.{which}, or load the last weights",
            )
        if which == "best" and training.best is not None and self.certificate is not None:
            return BadInput(
                f"run '{self.path}' has no best weights: no evaluation had a usable {training.best.metric}",
                expected=name,
                next_step="load the last weights",
            )
        return BadInput(
            f"run '{self.path}' has no trained operator yet",
            expected=name,
            next_step=self.resuming,
        )
