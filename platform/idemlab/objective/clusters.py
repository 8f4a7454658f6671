"""Clusters of samples, found without labels: the pieces that a set of data seems to consist of."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
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
"""Of each sample in the graph: PhenoGraph's default."""
_DIMENSIONS = 50
"""Principal components in which distances are taken."""
_BASIS = 2048
"""Samples, evenly spaced, that give the principal components."""
_NODES = 60_000
"""Of the graph, at most: its cost grows with their square. The other samples follow their nearest nodes."""
_READ = 1024
"""Samples read at a time."""
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
        BadInput: if there are too few samples, or values that are not finite, or one cluster only.
    """
    total = len(rows)
    if total < 2 * (NEIGHBOURS + 1):
        raise BadInput(
            f"{name} has {counted(total, 'training sample')}, too few to find clusters of",
            where="[dataset], key 'condition'",
            expected=f"{2 * (NEIGHBOURS + 1)} or more",
            next_step="leave 'condition' out",
        )
    points, digest = _projected(rows, name)
    file = (
        Path(os.environ.get("IDEMLAB_CACHE") or "~/.cache/idemlab").expanduser()
        / "clusters"
        / f"{digest[:16]}.safetensors"
    )
    with suppress(OSError):  # a folder that cannot be written: found, and not kept
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):  # of several processes, one searches
            found = _kept(file, total)
            if found is None:
                found = communities(points)
                with replacing(file) as partial:
                    save_file({"cluster": found}, partial)
            return _several(found, name)
    return _several(communities(points), name)


def _several(found: Tensor, name: str) -> Tensor:
    if int(found.max()) == 0:
        raise BadInput(
            f"the training samples of {name} form one cluster",
            where="[dataset], key 'condition'",
            expected="two clusters or more",
            next_step="leave 'condition' out: one piece is enough",
        )
    return found


def _kept(file: Path, total: int) -> Tensor | None:
    """What an earlier call found, or None where there is nothing, or nothing whole."""
    with suppress(OSError, SafetensorError, KeyError):
        found = load_file(file)["cluster"]
        if found.shape == (total,) and found.dtype == torch.long and int(found.min()) == 0:
            return found
    return None


def _projected(rows: MapStyle, name: str) -> tuple[Tensor, str]:
    """The samples in their principal components, [N, <= 50], float64, and the hash of the samples."""

    def read(indices: list[int]) -> Tensor:
        return rows.__getitems__(indices).target.detach().cpu().flatten(1)

    total = len(rows)
    some = min(total, _BASIS)
    basis_rows = [i * total // some for i in range(some)]
    sample = torch.cat([read(basis_rows[i : i + _READ]) for i in range(0, some, _READ)]).double()
    mean = sample.mean(0)
    basis = None
    if sample.shape[1] > _DIMENSIONS and bool(sample.isfinite().all()):
        basis = torch.linalg.svd(sample - mean, full_matrices=False).Vh[:_DIMENSIONS].T
    digest = hashlib.sha256(repr((_RECIPE, NEIGHBOURS, _DIMENSIONS, _BASIS, _NODES)).encode())
    parts = []
    for first in range(0, total, _READ):
        part = read(list(range(first, min(first + _READ, total))))
        digest.update(repr((part.dtype, tuple(part.shape))).encode())
        digest.update(part.contiguous().view(torch.uint8).numpy().data)
        if not bool(part.isfinite().all()):
            bad = first + int((~part.isfinite().all(1)).nonzero()[0])
            raise BadInput(
                f"sample {bad} of {name} has a value that is not finite",
                where="[dataset]",
                expected="finite values, to find clusters by distance",
                next_step="remove such samples, counted from 0",
            )
        values = part.double() - mean
        parts.append(values if basis is None else values @ basis)
    return torch.cat(parts), digest.hexdigest()


def communities(points: Tensor) -> Tensor:
    """Points [N, n] -> the cluster of each, [N] int64, ordered by size; number 0 is the largest.

    The clusters are communities of the graph of 30 nearest neighbours, whose edges weigh by the neighbours that two points
    share: those of greatest modularity, as Louvain's method finds them. Their number follows from the data. Communities of
    30 points or fewer join their nearest neighbour.

    Source: Levine et al. 2015, Cell 162 (PhenoGraph), with its defaults, here in 50 principal components; Blondel et al.
    2008, arXiv 0803.0476 (Louvain).
    """
    from scipy import sparse  # here, since few runs need it and it takes a moment
    from sknetwork.clustering import Louvain

    total = len(points)
    nodes = min(total, _NODES)
    places = torch.arange(nodes) * total // nodes
    graph = points[places]
    near = _nearest(graph, graph, own=True)
    shared = _shared(near).double()
    weights = shared / (2 * NEIGHBOURS - shared)
    start = np.arange(0, nodes * NEIGHBOURS + 1, NEIGHBOURS)
    directed = sparse.csr_matrix((weights.flatten().numpy(), near.flatten().numpy(), start), (nodes, nodes))
    found = torch.from_numpy(Louvain(random_state=0).fit_predict((directed + directed.T).tocsr())).long()
    sizes = torch.bincount(found)
    large = sizes[found] > NEIGHBOURS
    if bool(large.any()) and not bool(large.all()):
        nearest = _nearest(graph[~large], graph[large])[:, 0]
        found[~large] = found[large][nearest]
    if nodes < total:
        votes = torch.zeros(total, int(found.max()) + 1, dtype=torch.long)
        voters = found[_nearest(points, graph)]
        votes.scatter_add_(1, voters, torch.ones_like(voters))
        votes[places] = 0
        votes[places, found] = 1
        found = votes.argmax(1)
    order = torch.bincount(found).argsort(descending=True, stable=True)
    return order.argsort()[found]


def _nearest(points: Tensor, others: Tensor, own: bool = False) -> Tensor:
    """Numbers of the 30 nearest among the others, nearest first, [N, 30]; without the point itself if they are the same."""
    squares, rows = others.square().sum(1), []
    count = min(NEIGHBOURS, len(others))
    for first in range(0, len(points), _CHUNK):
        part = points[first : first + _CHUNK]
        apart = squares - 2 * part @ others.T
        if own:
            apart[torch.arange(len(part)), torch.arange(first, first + len(part))] = torch.inf
        rows.append(apart.topk(count, largest=False).indices)
    return torch.cat(rows)


def _shared(near: Tensor) -> Tensor:
    """How many neighbours each point shares with each of its neighbours, [N, 30]."""
    parts = torch.split(near, _CHUNK)
    return torch.cat([(near[part][..., None] == part[:, None, None]).any(3).sum(2) for part in parts])
