"""Augmented data: torchvision's transforms (v2) by name, drawn for each sample by the seed and the step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Operator, Points, Source, Step, nearest_match

from .vision import torchvision_transforms

__all__ = ["AugmentedSource"]

_INSIDE = "transforms"
"""The argument of `RandomApply`, `RandomChoice` and the like that is a list of transforms itself."""


class AugmentedSource(Source):
    """x -> T(x) with a T of its own for each sample; the target is T(x) as well.

    Each sample's T is drawn by a seed that `Step` draws for its row of the global batch, so that neither the number of
    processes nor resuming changes it. The transforms see images in [0, 1].

    Args:
        transforms: tables with the name of a class of `torchvision.transforms.v2` and its arguments, applied in this order.
        then: makes the points of the augmented samples, which are its batch: `corrupted`, say.

    Raises:
        BadInput: for an unknown name, and for arguments that the class refuses.
    """

    made_of_data = True
    bounds: Tensor

    def __init__(self, transforms: Sequence[Mapping[str, Any]], then: Source | None) -> None:
        super().__init__()
        self._transform = _composed(transforms)
        self.then = then
        if then is not None:  # whose points are those of this source, too
            self.row_by_row, self.draws_from_data = then.row_by_row, then.draws_from_data
        self.register_buffer("bounds", torch.tensor([0.0, 1.0]))

    def fit(self, dataset: Dataset) -> None:
        """Learn the range of the images.

        Raises:
            BadInput: if the data are no images with a range.
        """
        if len(dataset.shape) != 3 or dataset.range is None:
            raise BadInput(
                f"source 'augmented': only images with a range can be augmented; the data have the shape {dataset.shape}"
                f" and {'no range' if dataset.range is None else 'the range ' + str(dataset.range)}",
                expected="images (channels, height, width), and a Dataset with a range",
            )
        self.bounds.copy_(torch.tensor(dataset.range))
        if self.then is not None:
            self.then.fit(dataset)

    def period(self, rows: int) -> int:
        return 1 if self.then is None else self.then.period(rows)

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        if batch.target is not batch.input:
            raise BadInput(
                "source 'augmented': the data have targets of their own, which would no longer belong to augmented inputs",
                next_step="leave the source out, or augment the data themselves",
            )
        x = batch.input
        low, high = self.bounds.to(x.dtype)
        seeds = (step.uniform(x.new_empty(len(x), dtype=torch.float64)) * 2**53).long().tolist()
        with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            points = torch.stack(
                [self._one((each - low) / (high - low), seed) for each, seed in zip(x, seeds, strict=True)]
            )
        augmented = batch.replace(input=(shifted := points * (high - low) + low), target=shifted)
        if self.then is None:
            return Points(shifted, shifted)
        inputs, targets, condition = self.then.sample(augmented, step, operator)
        return Points(inputs, shifted if targets is None else targets, condition)

    def _one(self, image: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        changed = self._transform(image)
        if not isinstance(changed, Tensor) or changed.shape != image.shape or changed.dtype != image.dtype:
            got = f"{changed.dtype} {list(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise BadInput(
                f"source 'augmented': the transforms turn {image.dtype} {list(image.shape)} into {got}",
                expected="images of the same shape and type",
                next_step="let the transform that crops or resizes return the size of the data",
            )
        return changed


def _composed(tables: Sequence[Mapping[str, Any]]) -> Callable[[Tensor], Any]:
    built = [_built(table, f"transforms[{i}]") for i, table in enumerate(tables)]

    def apply(image: Tensor) -> Any:
        for transform in built:
            image = transform(image)
        return image

    return apply


def _built(table: Mapping[str, Any], key: str) -> Callable[[Tensor], Any]:
    module = torchvision_transforms()
    known: dict[str, Any] = {
        name: cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, module.Transform) and cls is not module.Transform
    }
    name = table.get("name") if isinstance(table, Mapping) else None
    if name not in known:
        raise BadInput(
            f"source 'augmented': {key} names no transform" + (f": '{name}'" if isinstance(name, str) else ""),
            expected='{ name = "RandomAffine", degrees = 10 }, with a class of torchvision.transforms.v2',
            nearest=nearest_match(str(name), known),
        )
    given = {argument: value for argument, value in table.items() if argument != "name"}
    accepted = inspect.signature(known[name]).parameters
    for argument in given:
        if argument not in accepted:
            raise BadInput(
                f"source 'augmented': {name} has no argument '{argument}'",
                choices=sorted(accepted),
                nearest=nearest_match(argument, accepted),
            )
    if isinstance(given.get(_INSIDE), list):
        given[_INSIDE] = [_built(each, f"{key}.{_INSIDE}[{i}]") for i, each in enumerate(given[_INSIDE])]
    try:
        made: Callable[[Tensor], Any] = known[name](**given)
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"source 'augmented': {name}: {' '.join(str(error).split())}",
            next_step=f"see torchvision.transforms.v2.{name}",
        ) from error
    return made
