"""Clusters of samples, found without labels, as the condition in training."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..contracts.dataset import MapStyle
from ..errors import BadInput
from ..system.files import replacing
from ..wording import counted

__all__ = ["NEIGHBOURS", "clusters_of", "communities"]

NEIGHBOURS = 30
"""Of each sample in the graph; also the size that a cluster must exceed."""
_DIMENSIONS = 50
"""Principal components in which distances are taken."""
_BASIS = 2048
"""Samples, evenly spaced, that give the principal components."""
_NODES = 60_000
"""Of the graph, at most: its cost grows with their square. The other samples follow their nearest nodes."""
_LEVELS = 2**36
"""To which distances are rounded, up to twice that of the 30th neighbour: so equal ones stay equal on every machine."""
_READ, _VALUES = 1024, 2**24
"""Samples, and values, read at a time."""
_CHUNK = 256
"""Rows of the matrix of distances at a time."""
_RECIPE = 1
"""Raise it whenever the result may change: what is kept on disk is then found again."""


def clusters_of(rows: MapStyle, name: str) -> Tensor:
    """The cluster of each sample's target, [N] int64. The largest cluster is number 0.

    What was found is kept in ``$IDEMLAB_CACHE/clusters`` under the hash of the samples. The same samples have the same
    clusters on every machine, unless rounding decides which of two neighbours is the nearer one.

    Args:
        name: of the data, for messages.

    Raises:
        BadInput: if values are not finite, or there are no two clusters of more than 30 samples.
    """
    file = _file(_hash(rows, name))
    found = _kept(file, len(rows))
    if found is None:
        with ExitStack() as stack:
            with suppress(OSError):  # a folder that cannot be written: found, and not kept
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(f"{file}.lock"))  # of several processes, one searches
            found = _kept(file, len(rows))
            if found is None:
                found = communities(_projected(rows))
                with suppress(OSError, SafetensorError), replacing(file) as partial:
                    save_file({"cluster": found}, partial)
    if int(found.max()) == 0:
        raise BadInput(
            f"the {counted(len(rows), 'training sample')} of {name} have no two clusters of more than {NEIGHBOURS}",
            where="[dataset], key 'condition'",
            next_step="leave 'condition' out, or give more samples",
        )
    return found


def _file(digest: str) -> Path:
    try:
        folder = Path(os.environ.get("IDEMLAB_CACHE") or "~/.cache/idemlab").expanduser()
    except RuntimeError:  # the user has no home
        folder = Path(tempfile.gettempdir()) / "idemlab"
    return folder / "clusters" / f"{digest[:16]}.safetensors"


def _kept(file: Path, total: int) -> Tensor | None:
    """What an earlier call found, or None where there is nothing, or nothing whole."""
    with suppress(OSError, SafetensorError, KeyError):
        found = load_file(file)["cluster"]
        if found.shape == (total,) and found.dtype == torch.long and int(found.min()) == 0 and _by_size(found):
            return found
    return None


def _by_size(found: Tensor) -> bool:
    """Whether no cluster is larger than the one before it. Then none is empty."""
    return bool((torch.bincount(found).diff() <= 0).all())


def _parts(rows: MapStyle, places: Sequence[int]) -> Iterator[Tensor]:
    """Some samples, flat, in parts of limited size."""
    size = max(1, rows.__getitems__([0]).target.numel())
    step = max(1, min(_READ, _VALUES // size))
    for first in range(0, len(places), step):
        yield rows.__getitems__(list(places[first : first + step])).target.detach().cpu().flatten(1)


def _hash(rows: MapStyle, name: str) -> str:
    """Of all samples, and of what decides their clusters; each value is checked on the way."""
    recipe = (_RECIPE, NEIGHBOURS, _DIMENSIONS, _BASIS, _NODES, _LEVELS, version("scikit-network"))
    digest, seen = hashlib.sha256(repr(recipe).encode()), 0
    for part in _parts(rows, range(len(rows))):
        if not bool(part.isfinite().all()):
            bad = seen + int((~part.isfinite().all(1)).nonzero()[0])
            raise BadInput(
                f"training sample {bad} of {name} has a value that is not finite",
                where="[dataset]",
                expected="finite values, to find clusters by distance",
                next_step="remove this sample; samples are counted from 0",
            )
        digest.update(repr((part.dtype, tuple(part.shape))).encode())
        digest.update(part.contiguous().view(torch.uint8).numpy().data)
        seen += len(part)
    return digest.hexdigest()


def _projected(rows: MapStyle) -> Tensor:
    """The samples in their leading principal components, [N, <= 50], float64, the largest value of all near 1."""
    total = len(rows)
    size = rows.__getitems__([0]).target.numel()
    some = min(total, _BASIS, max(2 * _DIMENSIONS, 8 * _VALUES // max(1, size)))
    sample = torch.cat([part.double() for part in _parts(rows, [i * total // some for i in range(some)])])
    scale = float(sample.abs().max()) or 1.0
    mean = sample.div_(scale).mean(0)
    basis = None
    if size > _DIMENSIONS:
        sample -= mean
        variances, components = torch.linalg.eigh(sample @ sample.T)  # smaller than the covariance of large images
        leading = variances[-_DIMENSIONS:] > 1e-10 * variances[-1].clamp_min(1e-300)
        basis = sample.T @ (components[:, -_DIMENSIONS:] * variances[-_DIMENSIONS:].rsqrt())[:, leading]
    points = []
    for part in _parts(rows, range(total)):
        values = part.double().div_(scale).sub_(mean)
        points.append(values if basis is None else values @ basis)
    return torch.cat(points)


def communities(points: Tensor) -> Tensor:
    """Points [N, n] -> the cluster of each, [N] int64, ordered by size; number 0 is the largest.

    The clusters are communities of the graph of 30 nearest neighbours, whose edges weigh by the neighbours that two points
    share. Louvain's method finds communities of large modularity, and so their number, too. It also divides points that
    form one piece. Points in communities of 30 or fewer join the cluster of their nearest neighbour in a larger one. Without
    any larger one, all points are one cluster.

    Source: after PhenoGraph (Levine et al. 2015, Cell 162), whose default is 30 neighbours; Blondel et al. 2008, arXiv
    0803.0476 (Louvain).
    """
    from scipy import sparse  # here, since few runs need it and it takes a moment
    from sknetwork.clustering import Louvain

    total = len(points)
    nodes = min(total, _NODES)
    if nodes < 2 * (NEIGHBOURS + 1):
        return torch.zeros(total, dtype=torch.long)
    places = torch.arange(nodes) * total // nodes
    graph = points[places]
    near = _nearest(graph, graph, own=True)
    weights = _jaccard(near)
    start = np.arange(0, nodes * NEIGHBOURS + 1, NEIGHBOURS)
    directed = sparse.csr_matrix((weights.flatten().numpy(), near.flatten().numpy(), start), (nodes, nodes))
    found = torch.from_numpy(Louvain(random_state=0).fit_predict((directed + directed.T).tocsr())).long()
    large = torch.bincount(found)[found] > NEIGHBOURS
    if not bool(large.any()):
        return torch.zeros(total, dtype=torch.long)
    if not bool(large.all()):
        found[~large] = found[large][_nearest(graph[~large], graph[large])[:, 0]]
    if nodes < total:
        others = torch.ones(total, dtype=torch.bool)
        others[places] = False
        votes = found[_nearest(points[others], graph)]
        whole = torch.empty(total, dtype=torch.long)
        whole[places], whole[others] = found, votes.mode(1).values
        found = whole
    order = torch.bincount(found).argsort(descending=True, stable=True)  # numbers that nobody has any more come last
    return order.argsort()[found]


def _nearest(points: Tensor, others: Tensor, own: bool = False) -> Tensor:
    """Numbers of the 30 nearest among the others, nearest first, [N, 30]; without the point itself if they are the same.

    Of equally near ones the first is the nearer: each distance is rounded, and carries the number of its point.
    """
    squares, count = others.square().sum(1), min(NEIGHBOURS, len(others))
    fractions, rows = torch.arange(len(others), dtype=torch.float64) / 2**16, []  # 36 + 16 bits, of 53 in a float64
    for first in range(0, len(points), _CHUNK):
        part = points[first : first + _CHUNK]
        norms = part.square().sum(1, keepdim=True)
        apart = (norms + squares - 2 * part @ others.T).clamp_min_(0)
        if own:
            apart[torch.arange(len(part)), torch.arange(first, first + len(part))] = torch.inf
        last = apart.topk(count, largest=False).values[:, -1:]
        scale = torch.maximum(last, 1e-3 * norms).clamp_min(1e-200)  # far below the norm, differences are rounding
        key = apart.mul_(_LEVELS / 2 / scale).round_().clamp_max_(_LEVELS).add_(fractions)
        if own:
            key[torch.arange(len(part)), torch.arange(first, first + len(part))] = torch.inf
        rows.append((key.topk(count, largest=False).values.frac() * 2**16).long())
    return torch.cat(rows)


def _jaccard(near: Tensor) -> Tensor:
    """|A & B| / |A | B| of the neighbours A of each point and those, B, of each of its neighbours, [N, 30] float64."""
    parts = torch.split(near, _CHUNK)
    shared = torch.cat([(near[part][..., None] == part[:, None, None]).any(3).sum(2) for part in parts]).double()
    return shared / (2 * NEIGHBOURS - shared)
