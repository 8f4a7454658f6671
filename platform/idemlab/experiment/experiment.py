"""A resolved experiment: every name is known, every argument checked and complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.named import Named
from .condition import Condition
from .settings import EvaluationSettings, OptimizerSettings, ReconstructionSettings, TrainingSettings
from .start import Start

__all__ = ["Experiment"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A resolved experiment: every name is known, every argument checked and complete.

    Args:
        name: of the file, without its extension.
        summary: what the experiment shows, in one sentence.
        condition: the part of a batch that is the condition c of f(x, c).
        start: the weights from which the model starts, and which parameters are frozen.
        sources: supply the points at which idempotence is enforced.
        corruption: makes the reconstruction's inputs from the data; the source `data` leaves them unchanged.
        inputs: evaluation inputs besides the test data, by name.
        metrics: measured at all evaluation inputs that their specs name.
        method: the optimiser with its arguments if a plugin offers it; None for those of torch.optim.
        schedule: of the learning rate.
        trackers: receive the metrics besides metrics.jsonl.
    """

    name: str
    summary: str
    dataset: Named
    condition: Condition
    model: Named
    start: Start
    enforcer: Named
    sources: tuple[Named, ...]
    corruption: Named
    inputs: Mapping[str, Named]
    metrics: tuple[Named, ...]
    method: Named | None
    schedule: Named
    trackers: tuple[Named, ...]
    reconstruction: ReconstructionSettings
    optimizer: OptimizerSettings
    training: TrainingSettings
    evaluation: EvaluationSettings

    @property
    def things(self) -> Iterator[Named]:
        """All named things of the experiment, the enforcer first, including arguments of other named things."""
        tops = (self.enforcer, self.model, self.dataset, *self.sources, self.corruption)
        others = (*([] if self.method is None else [self.method]), self.schedule, *self.trackers)
        for named in (*tops, *self.inputs.values(), *self.metrics, *others):
            yield from named.inside()

    def table(self) -> dict[str, Any]:
        """The experiment as nested plain tables, as in its resolved file."""
        sources = [source.table() for source in self.sources]
        return {
            "summary": self.summary,
            "dataset": self.dataset.table() | ({} if self.condition == "none" else {"condition": self.condition}),
            "model": self.model.table() | self.start.table(),
            "source": sources[0] if len(sources) == 1 else sources,
            "enforcer": self.enforcer.table(),
            "reconstruction": self.reconstruction.model_dump() | {"input": self.corruption.table()},
            "optimizer": self.optimizer.model_dump() | {"schedule": _brief(self.schedule)},
            "training": self.training.model_dump(exclude_none=True)
            | {"trackers": [_brief(tracker) for tracker in self.trackers]},
            "evaluation": self.evaluation.model_dump()
            | {
                "inputs": {name: source.table() for name, source in self.inputs.items()},
                "metrics": [metric.table() for metric in self.metrics],
            },
        }

    def to_toml(self) -> str:
        """The resolved file: running it again gives the same numbers."""
        import tomli_w

        return f"# {self.name}, resolved: every default is written out.\n" + tomli_w.dumps(self.table())


def _brief(named: Named) -> Any:
    """A named thing as in a file: its name alone where it has no arguments."""
    table = named.table()
    return table if len(table) > 1 else named.name
