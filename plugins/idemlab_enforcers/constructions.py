"""The factories of the enforcers that wrap a network. Nothing here imports torch.

The unit of cost is F, one forward of the given network on one batch.
"""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le


def linearizer(rank: Annotated[int, Ge(1)] | None = None, learned: bool = False) -> Any:
    """Idempotent by construction: f = g^-1 A g with an invertible model g and a diagonal A of zeros and ones.

    f is idempotent to rounding, whatever the weights, and its rank is the number of ones in A, everywhere. There is no
    loss, so the data term alone trains g; f costs twice as much as g. The image is a smooth manifold without holes or
    separate parts. Rounding errors grow with the condition number of g, which the metric `invertibility` estimates.

    Args:
        rank: r, number of coordinates of g(x) that A keeps; may be left out where A is learned.
        learned: whether A is learned, with the gradient of a sigmoid: which r coordinates to keep, or, without a rank, how
            many. Otherwise A keeps the first r.
    """
    from .linearizer import Linearizer

    return Linearizer(rank, learned)


def section(rank: Annotated[int, Ge(1)]) -> Any:
    """Idempotent by construction, of a given rank, on any given network F.

    f = s(e(x)) with e(s(h)) = h, whatever the weights. h are the leading principal components of the data. s gives F the
    linear reconstruction of h, a blurred sample, and corrects the components of the result. e uses the components of F(x),
    through a gate that is zero where x is already in the image of s. There is no loss, so the data term alone
    trains F, and a step needs no f(f(x)). f costs three forwards of F.

    Args:
        rank: r, number of components, less than the numbers of a sample: the rank of f, everywhere.
    """
    from .section import Section

    return Section(rank)


def union(balanced: bool = True) -> Any:
    """An operator f(x, c), with classes c, whose class may be left out: f(x) is the nearest of the f(x, c) to x, in
    proportion to their sizes.

    If each f(., c) is idempotent, f is, exactly, and its image is the union of theirs. So it may have separate pieces, which
    no continuous f(x) gives to connected inputs. Use it in `hybrid`, behind the construction that makes f(x, c) idempotent:
    `enforcers = [{ name = "section", rank = 8 }, { name = "union" }]`. With `dataset.condition = "training"` the operator
    is trained with the labels and used without them; with `"clusters"` it needs no labels at all. There is no loss. With K
    classes, f costs K + 1 calls of f(x, c); the first call costs K further ones with 1024 samples, for the weights.

    Args:
        balanced: whether the distances have weights with which f sends standard normal noise to the classes as often as
            these occur in the data. They follow from the parameters and are found at the first call, at 1024 samples: too
            few for more than about a hundred classes.
    """
    from .union import Union

    return Union(balanced)


def truncation(rank: Annotated[int, Ge(1)]) -> Any:
    """Spectral truncation of codes: f = decode T encode where T keeps r directions of the code.

    The rank of f is at most r everywhere. The directions start at the leading principal components of the codes of the
    data, and are trained with the network. So a trained autoencoder, given as the weights of the model, can be cut to a
    smaller rank and trained on. It limits only the rank: for f(f(x)) = f(x), add a loss in `hybrid`, `alignment` for
    instance.

    Args:
        rank: r, number of directions, at most the size of a code.
    """
    from .truncation import Truncation

    return Truncation(rank)


def limit(
    depth: Annotated[int, Ge(1), Le(1000)] | None = None,
    tolerance: Annotated[float, Gt(0)] = 1e-4,
    most: Annotated[int, Ge(1), Le(10_000)] = 50,
    terms: Annotated[int, Ge(1), Le(1000)] = 10,
) -> Any:
    """The obvious baseline for any given network g: f = g^k, or the fixed point that g^k(x) reaches.

    It makes no claim: f is idempotent where the iteration has converged, which the certificate measures. g^k costs k times
    g. The fixed point costs as many forwards as the iteration takes, two more with gradient, and one backward to the input
    for each term.

    Args:
        depth: k; left out, the fixed point, with implicit gradients as in deep equilibrium models.
        tolerance: of the fixed point: relative change of a sample at which its iteration ends.
        most: largest number of iterations to the fixed point.
        terms: of the Neumann series for the gradient at the fixed point. Directions that g preserves add up with every term.
    """
    from .limit import Limit

    if depth is not None and (tolerance, most, terms) != (1e-4, 50, 10):
        raise ValueError("with 'depth' there is no fixed point, to which 'tolerance', 'most' and 'terms' belong")
    return Limit(depth, tolerance, most, terms)
