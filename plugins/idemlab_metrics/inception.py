"""Features of the Inception network, if its weights are available; only a distance in these features is called FID."""

from __future__ import annotations

import importlib
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Failure

from .cache import sha256

__all__ = ["Inception", "inception_weights"]

_FILE = "inception_v3_google-0cc3c7bd.pth"
_SIDE, _CHUNK = 299, 50
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def inception_weights() -> Path:
    """Where torch hub puts torchvision's weights of Inception v3; nothing is ever downloaded here."""
    return Path(torch.hub.get_dir(), "checkpoints", _FILE)


class Inception:
    """Images [B, 1 or 3, H, W] -> the last layer of torchvision's Inception v3, [B, 2048].

    Images are scaled to 299 x 299. The weights are torchvision's (ImageNet, supervised): distances in these features compare
    with each other, but only roughly with published ones, which use the weights of Heusel et al. 2017.

    Raises:
        BadInput: if the weights are missing or damaged, or the data are not images of one or three channels.
    """

    def __init__(self, dataset: Dataset) -> None:
        if len(dataset.shape) != 3 or dataset.shape[0] not in (1, 3) or dataset.range is None:
            raise BadInput(
                "features = 'inception' need images of one or three channels, with values in a known range",
                next_step="take features = 'cnn' (images with labels) or 'pca' (anything)",
            )
        path = inception_weights()
        if not path.is_file():
            raise BadInput(
                "features = 'inception' need the weights of torchvision's Inception v3, which are not available",
                expected=f"the file {path}",
                next_step="put it there (https://download.pytorch.org/models/"
                f"{_FILE}), or take features = 'cnn' or 'pca': a distance in those is not called FID",
            )
        if not sha256(path).startswith(path.stem.rpartition("-")[2]):
            raise BadInput(f"{path} is damaged: its hash is not the one in its name", next_step="fetch it again")
        self._range = dataset.range

    @property
    def name(self) -> str:
        """The name of the weights."""
        return inception_weights().stem

    @property
    def facts(self) -> dict[str, float]:
        """None: the network is the field's convention."""
        return {}

    def __call__(self, points: Tensor) -> Tensor:
        network = self._network.to(points.device)
        with torch.no_grad():
            return torch.cat([network(self._seen(part)).cpu().double() for part in points.split(_CHUNK)])  # type: ignore[no-untyped-call]

    def _seen(self, images: Tensor) -> Tensor:
        low, high = self._range
        unit = ((images.float() - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
        large = nn.functional.interpolate(unit, (_SIDE, _SIDE), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (_MEAN, _STD))
        return (large - mean) / std

    @cached_property
    def _network(self) -> nn.Module:
        try:
            models = importlib.import_module("torchvision.models.inception")
        except RuntimeError as error:  # a torchvision built for CUDA beside a torch that is not
            raise Failure(
                f"torchvision cannot be imported: {error}", next_step="install the one made for this torch"
            ) from error
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = models.inception_v3(weights=None, init_weights=False)
        network.load_state_dict(torch.load(inception_weights(), map_location="cpu", weights_only=True))
        network.fc = nn.Identity()
        return network.eval().requires_grad_(False)
