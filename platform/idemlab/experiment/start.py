"""What a model starts from and what of it is frozen: the keys of [model] that belong to the platform, not to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..catalog.paths import located
from ..catalog.schema import checked
from ..contracts.specs import ModelSpec
from ..errors import BadInput, nearest_match
from ..system.files import sha256
from ..system.hub import is_hub_name
from ..wording import clipped
from .operators import WEIGHTS, can_only_be_path, fetch_operator, shipped_operator
from .settings import StartSettings

if TYPE_CHECKING:
    from .experiment import Experiment

__all__ = ["Start", "pinned", "split"]

_WHERE = "[model], key 'weights'"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a model starts from.

    Args:
        settings: as in the experiment file; a path is absolute.
        shipped: the folder of the shipped operator that `weights` names.
    """

    settings: StartSettings = field(default_factory=StartSettings)
    shipped: Path | None = None

    @property
    def weights(self) -> str | None:
        """Path of a run or of a safetensors file, or the name of an operator; None for fresh weights."""
        return self.settings.weights

    def table(self) -> dict[str, Any]:
        """The keys of [model] that are set."""
        return self.settings.model_dump(exclude_defaults=True)

    def file(self) -> Path:
        """The safetensors file to start from; it may have to be downloaded.

        Raises:
            BadInput: if there is none.
            Failure: if the hub cannot be reached.
        """
        assert self.weights is not None, "the model starts from fresh weights"
        if self.shipped is not None:
            return self.shipped / WEIGHTS
        path = Path(self.weights)
        if not path.is_absolute():
            path = self._named()
        if path.is_dir():
            if not (path / WEIGHTS).is_file():
                raise BadInput(
                    f"'{path}' has no {WEIGHTS} to start from",
                    where=_WHERE,
                    expected="the folder of a finished run, or a .safetensors file",
                )
            return path / WEIGHTS
        if not path.is_file():
            beside = [str(each.parent) for each in path.parent.glob(f"*/{WEIGHTS}")]
            beside += map(str, path.parent.glob("*.safetensors"))
            raise BadInput(
                f"there are no weights '{clipped(str(path), 200)}'",
                where=_WHERE,
                expected="the folder of a finished run, a .safetensors file, or a name on the hub (owner/name)",
                nearest=nearest_match(str(path), beside),
            )
        return path

    def _named(self) -> Path:
        """The folder of an operator that is no path and not shipped."""
        name = str(self.weights)
        if is_hub_name(name):
            return fetch_operator(name, _WHERE)
        raise BadInput(
            f"there are no weights '{clipped(name)}': no such folder, and no such operator is shipped",
            where=_WHERE,
            expected="the folder of a finished run, a .safetensors file, or a name on the hub (owner/name)",
            next_step="correct the path, which is relative to the experiment file",
        )


def split(table: Any, where: str, catalog: Catalog) -> tuple[Any, Start]:
    """([model] as the model's factory takes it, what the model starts from).

    Raises:
        BadInput: for a wrong type, or a hash without weights.
    """
    if not isinstance(table, Mapping):
        return table, Start()
    own = {key: table[key] for key in ModelSpec.reserved if table.get(key) is not None}
    settings: StartSettings = checked(StartSettings, own, where, "[model]", "idemlab show EXPERIMENT prints all keys")
    rest = {key: value for key, value in table.items() if key not in ModelSpec.reserved}
    if settings.weights is None:
        if settings.weights_sha256 is not None:
            raise BadInput(
                "'weights_sha256' is the hash of 'weights', which are missing", where=where, next_step="set both"
            )
        return rest, Start(settings=settings)
    try:
        folder = getattr(own["weights"], "folder", Path())
        only = can_only_be_path(settings.weights, folder / settings.weights.replace("\0", ""))
        weights = str(located(Path if only else Path | str, own["weights"], settings.weights))
    except ValueError as error:
        raise BadInput(f"'weights': {error}", where=f"{where}, key 'weights'", expected="a path or a name") from None
    shipped = None if Path(weights).is_absolute() else shipped_operator(weights, catalog)
    return rest, Start(settings=settings.model_copy(update={"weights": weights}), shipped=shipped)


def pinned(experiment: Experiment) -> Experiment:
    """The experiment with the hash of the weights that it starts from, so that other weights are detected.

    Raises:
        BadInput: if there are no such weights, or the experiment has the hash of others.
        Failure: if the hub cannot be reached.
    """
    start = experiment.start
    if start.weights is None:
        return experiment
    file = start.file()
    digest, before = sha256(file), start.settings.weights_sha256
    if before not in (None, digest):
        raise BadInput(
            f"these are not the weights that the experiment was resolved with: their hash is {digest[:12]}..., and was "
            f"{str(before)[:12]}...",
            where=f"{_WHERE}: {file}",
            next_step="put the earlier file back, or start a new run and set model.weights again",
        )
    settings = start.settings.model_copy(update={"weights_sha256": digest})
    return replace(experiment, start=replace(start, settings=settings))
