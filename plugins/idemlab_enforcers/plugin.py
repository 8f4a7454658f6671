"""The built-in enforcers. Nothing here imports torch: each factory imports its implementation when it is called.

The unit of cost is F, one forward of the operator on one batch. A backward costs 2F, and f(x) is included.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

from .constructions import limit, linearizer, section, truncation, union
from .traits import (
    gradient_traits,
    hybrid_traits,
    ign_traits,
    kinds,
    purification_traits,
    rank_traits,
    relative_traits,
)

if TYPE_CHECKING:
    from idemlab import Enforcer


def cubic(
    weight: Annotated[float, Ge(0)] = 1.0,
    cotangent: Literal["unit", "mean", "matched"] = "matched",
) -> Any:
    """Modified backpropagation: pulls y = f(x) to 3 f(y) - 2 f(f(y)), on any network.

    It replaces the gradient of an idempotence loss at y by a constant times g = y - 3 f(y) + 2 f(f(y)). Ordinary
    backpropagation carries this gradient to the parameters. The cost is 5F. On one linear layer with whitened inputs,
    plain gradient descent with the constant "unit" is the damped cubic iteration of `purification`, and the learning rate
    is its step.

    The paper does not state the constant. The default is the constant of the canonical loss `gradient`, so that a weight
    means the same in both enforcers, also relative to a reconstruction, for samples of any size.

    Args:
        weight: of the loss, >= 0.
        cotangent: gradient at y: "unit" g, "mean" g/n, "matched" 2g/n; n is the number of entries of one sample.
    """
    from .cubic import Cubic

    return Cubic(weight, cotangent)


def purification(
    method: Literal["cubic", "holas-5", "holas-7", "optimal", "sp2", "trs4", "hpcp", "pm"] = "cubic",
    rank: Annotated[int, Ge(0)] | None = None,
    gap: Annotated[float, Gt(0), Le(0.5)] | None = None,
    step: Annotated[float, Gt(0), Le(1)] = 1.0,
) -> Any:
    """Weight projection: after each optimiser step, K <- (1-s) K + s p(K) on the square linear maps.

    It is for linear operators only, and needs no gradient. By default p(K) = 3 K^2 - 2 K^3, for two matrix products: real
    eigenvalues in (-0.366, 0.5) go to 0, and those in (0.5, 1.366) to 1, quadratically at s = 1. Other eigenvalues may reach
    the wrong one or diverge.

    Args:
        method: p: "cubic"; "holas-5" and "holas-7", of order 3 and 4, for three and four products; "optimal", whose whole
            sequence for a known gap is one step, with the fewest products; "trs4", "hpcp", "pm" (two products) and "sp2"
            (one), to the projector of a given rank. These four and "optimal" need real eigenvalues in [0, 1].
        rank: r, to which "sp2", "trs4", "hpcp" and "pm" steer the trace; the others take none.
        gap: smallest distance of an eigenvalue from 1/2, for "optimal".
        step: s, in (0, 1]; below 1 the iteration is damped and converges linearly, at the rate 1 - s.
    """
    from idemlab import Purifier

    from .purification import Purify

    return Purify(Purifier(method=method, rank=rank, gap=gap), step)


def gradient(
    weight: Annotated[float, Ge(0)] = 1.0,
    routing: Literal["full", "inner", "outer"] = "full",
    distance: Literal["l1", "l2"] = "l2",
    depth: Annotated[int, Ge(1), Le(1000)] = 1,
) -> Any:
    """The canonical idempotence loss D(f(y), y) at y = f(x), by ordinary backpropagation.

    Its gradient has two parts. The inner part goes through y, with the outer f frozen. The outer part goes through the
    application of f to a fixed y. The full gradient costs 6F, the inner part 5F, the outer part 4F.

    Args:
        weight: of the loss, >= 0.
        routing: "full"; "inner", D(F(y), y) with a frozen copy F; "outer", D(f(sg y), sg y) with sg y held fixed.
        distance: D: "l2", the mean of squares over a sample's entries, or "l1", the mean of absolute values.
        depth: number of applications, >= 1, that must not change y: the loss is the mean of D(f^k(y), f^(k-1)(y)) over
            k = 1 ... depth. Each further one costs 3F. Only with routing "full".
    """
    from .gradient import Gradient

    return Gradient(weight, routing, distance, depth)


def relative(weight: Annotated[float, Ge(0)] = 1.0, squared: bool = False) -> Any:
    """The relative idempotence error as the loss: sqrt(mean |f(y) - y|^2 / mean |y - mean y|^2) at y = f(x).

    Shrinking the outputs does not lower it, and its gradient does not vanish near an idempotent, because it is not squared.
    The gradient goes through everything, and the means are over the global batch. The cost is 6F.

    It couples the samples of a batch: use batches of more than a few samples, and no micro-batches. If a batch has no
    spread (one sample, constant outputs), a running scale takes its place.

    Args:
        weight: of the loss, >= 0.
        squared: use the squared error, without the root; its gradient vanishes near an idempotent.
    """
    from .relative import Relative

    return Relative(weight, squared)


def log_relative(weight: Annotated[float, Ge(0)] = 0.003, scale: Annotated[float, Ge(1e-6)] = 0.01) -> Any:
    """The logarithm of the relative idempotence error as the loss: log(1 + e^2 / scale^2), e the loss of `relative`.

    At the start of a run, where e is large, the loss rises slowly with e, so f gains little by giving up directions of the
    data. Weights up to about 0.01 needed no warm-up; with 0.03, f often gave up directions. Near an idempotent it is e^2
    with the weight `weight / scale^2`. The weight is one for a reconstruction by `l2`; choose a larger one for larger
    reconstruction losses. The cost is 6F.

    Like `relative`, it is free of the outputs' scale and couples the samples of a batch.

    Args:
        weight: of the loss, >= 0.
        scale: relative error below which the loss is nearly a square, >= 1e-6.
    """
    from .relative import LogRelative

    return LogRelative(weight, scale)


def rank(
    rank: Annotated[int, Ge(1)],
    weight: Annotated[float, Ge(0)] = 1.0,
    spectrum: Annotated[float, Ge(0)] = 1.0,
    idempotence: Annotated[float, Ge(0)] = 4.0,
    probes: Annotated[int, Ge(2), Le(10_000)] | None = None,
    every: Annotated[int, Ge(1), Le(1_000_000)] = 4,
    warmup: Annotated[float, Ge(0), Le(1)] = 0.4,
) -> Any:
    """An idempotent of the rank that you choose: the Jacobian J of f is driven to a projection of rank r.

    The loss is (tr J - r)^2 + C + spectrum |J^2 - J|_F^2, at f(x) and at x, plus idempotence times the relative error of
    `relative`, and a term that keeps outputs from shrinking. C counts: it is zero if r singular values are at least 1, and
    the others 0. An idempotence loss alone leaves the rank to chance. A trace alone does so, too: many small eigenvalues
    can add up to it.

    J is exact, by central differences in all n directions, for (6 + 3n) F at every = 4: good for samples of up to a few
    hundred entries. With `probes`, the terms are unbiased estimates, for (6 + 6 probes) F, and C is (tr J^2 - r)^2, which
    can stop at a neighbouring rank; a single batch can report a negative loss. It needs no second derivatives.

    Args:
        rank: r, at least 1 and at most n.
        weight: of the whole loss, >= 0.
        spectrum: weight of |J^2 - J|_F^2, >= 0; 0 leaves the eigenvalues between 0 and 1.
        idempotence: weight of the relative error, >= 0; 0 for an enforcer of the rank alone, beside another in `hybrid`.
        probes: random vectors for each sample, >= 2, in place of the exact Jacobian.
        every: J is computed at every k-th sample of the batch.
        warmup: share of the run, in [0, 1], over which spectrum and idempotence rise from zero, so that the rank is found
            first.
    """
    from .rank import Rank

    return Rank(rank, weight, spectrum, idempotence, probes, every, warmup)


def ign(
    idempotence: Annotated[float, Ge(0)] = 20.0,
    tightness: Annotated[float, Ge(0)] = 2.5,
    clamp: Annotated[float, Ge(0)] = 1.5,
    distance: Literal["l1", "l2"] = "l1",
    routing: Literal["reversal", "surrogate", "cubic", "cubic-both"] = "reversal",
) -> Any:
    """Idempotent Generative Network: the loss λi D(F(y), y) - λt D(f(sg y), sg y) at y = f(z).

    F is a frozen copy of f, and sg y is held fixed. The second term, tightness, expands the outputs, which would
    otherwise collapse. It is clamped sample by sample to tanh(L/(a r)) a r, where r is the reconstruction of the same
    sample, unweighted and not detached: the clamp has a gradient through r too. The third weight of the paper, 20, is
    the weight of `[reconstruction]`.

    The cost is 9F with "reversal", 10F with the others, and 8F without tightness, with f(x) of the reconstruction
    included. Each routing is exact, with one exception: where the clamp is saturated, "reversal" keeps 1e-6 of the
    tightness gradient (1e-7 of the whole).

    Args:
        idempotence: λi, >= 0.
        tightness: λt, >= 0; 0 leaves the term out.
        clamp: a, >= 0; 0 for no clamp, which then needs no reconstruction.
        distance: D: "l1", the mean of absolute values over a sample's entries, or "l2", the mean of squares.
        routing: how the idempotence term reaches y. "reversal": one application of f serves both terms (not with the
            clamp on models with BatchNorm). "surrogate": its gradient is a fixed cotangent, on all models. "cubic": the
            cubic cotangent replaces it (see `cubic`, "matched"). "cubic-both": it replaces the tightness too, at 11F.
    """
    from .ign import IGN

    return IGN(idempotence, tightness, clamp, distance, routing)


def hybrid(
    enforcers: list[Enforcer],
    mode: Literal["blend", "crossfade", "switch"] = "blend",
    threshold: Annotated[float, Gt(0)] | None = None,
    warmup: Annotated[float, Ge(0), Le(1)] = 0.0,
    start: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> Any:
    """Combines several enforcers: adds their losses, fades from one to another, or switches sample by sample.

    Start and warm-up keep an untrained operator from collapsing to a constant, and a late start saves the time of f(f(x))
    before it. They also work with a single enforcer. Projections and architectures among the members are applied in
    order, in mode "blend" only, from the first step on.

    The switch uses the local residual |f(y) - y| / sqrt(mean |x - mean x|^2) at y = f(x), with the mean over the batch.
    This is a heuristic for whether f is near enough to an idempotent for the cubic iteration to converge.

    Args:
        enforcers: the members, each a table with a name and its arguments, such as its own weight. List those that
            differentiate through f(f(x)) last: the others then reuse what they compute.
        mode: "blend", the sum; "crossfade", from the first to the second, linearly over the run; "switch", the first
            where the residual is below the threshold, the second elsewhere.
        threshold: of the local residual, > 0, for instance 0.25; mode "switch" needs it, the others take none.
        warmup: share of the run, in [0, 1], over which the loss rises linearly from zero, from `start` on.
        start: share of the run, in [0, 1), before which the losses are left out. The counted operations of the run are
            those of a step that includes them.
    """
    from .hybrid import Hybrid

    return Hybrid(enforcers, mode, threshold, warmup, start)


def alignment(weight: Annotated[float, Ge(0)] = 1.0) -> Any:
    """Manifold alignment: the loss |encode(decode(h)) - h|^2 at the codes h = encode(x), for models that encode and decode.

    Where it is zero, f(f(x)) = f(x). It enforces this in the code instead of the samples, for 5F: two codes beside f(x).
    Shrinking codes lower it, so it needs the reconstruction beside it.

    Args:
        weight: of the loss, the mean over the entries of a code, >= 0.
    """
    from .alignment import Alignment

    return Alignment(weight)


def none() -> Any:
    """The control: enforces nothing, and shows what the data term alone achieves."""
    from idemlab import Enforcer

    return Enforcer()


def _by_hand(enforcer: str, /, **arguments: Any) -> Any:
    """The plain losses of an enforcer, imported at their first use."""
    from . import by_hand

    return getattr(by_hand, enforcer)(**arguments)


_JENSEN_VICARY = "N. B. Jensen and J. Vicary, Enforcing Idempotency in Neural Networks, ICML 2025"


@hookimpl
def provide_enforcers() -> Iterable[EnforcerSpec]:
    yield EnforcerSpec(
        name="alignment",
        factory=alignment,
        summary="Manifold alignment: a decoded code is encoded to itself.",
        reference="arXiv 2606.22304",
        traits=Traits(
            kinds=kinds(EnforcerKind.LOSS), orthogonally_equivariant=True, live_depth=1, calls=("encode", "decode")
        ),
    )
    yield EnforcerSpec(
        name="cubic",
        aliases=("cubic-iteration",),
        factory=cubic,
        summary="Modified backpropagation: pulls y = f(x) to 3 f(y) - 2 f(f(y)).",
        reference=_JENSEN_VICARY,
        traits=Traits(kinds=kinds(EnforcerKind.SUBSTITUTION), orthogonally_equivariant=True),
        by_hand=partial(_by_hand, "cubic"),
    )
    yield EnforcerSpec(
        name="gradient",
        aliases=("gradient-loss",),
        factory=gradient,
        summary="The canonical loss D(f(f(x)), f(x)), with its full, inner or outer gradient.",
        reference=f"the ordinary backpropagation of {_JENSEN_VICARY}",
        traits=gradient_traits,
        by_hand=partial(_by_hand, "gradient"),
    )
    yield EnforcerSpec(
        name="hybrid",
        factory=hybrid,
        summary="Blends, crossfades or switches several enforcers, with warm-up.",
        traits=hybrid_traits,
    )
    yield EnforcerSpec(
        name="ign",
        factory=ign,
        summary="The Idempotent Generative Network: an idempotence loss and a clamped tightness loss.",
        reference="A. Shocher et al., Idempotent Generative Network, ICLR 2024, arXiv 2311.01462",
        traits=ign_traits,
        by_hand=partial(_by_hand, "ign"),
    )
    yield EnforcerSpec(
        name="limit",
        factory=limit,
        summary="A given network, applied k times or until its fixed point.",
        reference="S. Bai et al., Deep equilibrium models, NeurIPS 2019, arXiv 1909.01377",
        traits=Traits(kinds=kinds(EnforcerKind.ARCHITECTURE), attracts=False),
    )
    yield EnforcerSpec(
        name="linearizer",
        factory=linearizer,
        summary="Idempotent by construction, of a given rank: f = g^-1 A g on an invertible model.",
        reference="arXiv 2510.08570",
        traits=Traits(kinds=kinds(EnforcerKind.ARCHITECTURE), exact=True, wraps=("inverse",)),
    )
    yield EnforcerSpec(
        name="section",
        factory=section,
        summary="Idempotent by construction, of a given rank, on any given network.",
        traits=Traits(kinds=kinds(EnforcerKind.ARCHITECTURE), exact=True),
    )
    yield EnforcerSpec(
        name="union",
        factory=union,
        summary="The nearest of f(x, c) over the classes c: an image in separate pieces, and no class is needed.",
        traits=Traits(kinds=kinds(EnforcerKind.ARCHITECTURE)),
    )
    yield EnforcerSpec(
        name="none",
        factory=none,
        summary="The control: enforces nothing.",
        traits=Traits(orthogonally_equivariant=True, attracts=False),
    )
    yield EnforcerSpec(
        name="purification",
        aliases=("cubic-projection",),
        factory=purification,
        summary="Weight projection on square linear maps, K <- 3 K^2 - 2 K^3 by default.",
        reference=f"R. McWeeny, Rev. Mod. Phys. 32 (1960) 335; {_JENSEN_VICARY}; the other methods: docs/method.md",
        traits=purification_traits,
    )
    yield EnforcerSpec(
        name="rank",
        factory=rank,
        summary="A projection of the rank that you choose: drives the Jacobian to eigenvalues 0 and 1, r of them 1.",
        reference="M. F. Hutchinson, Commun. Stat. Simul. Comput. 18 (1989) 1059, for the estimates of the trace",
        traits=rank_traits,
    )
    yield EnforcerSpec(
        name="relative",
        factory=relative,
        summary="The relative idempotence error as the loss: the scale of the outputs does not matter.",
        traits=relative_traits,
        by_hand=partial(_by_hand, "relative"),
    )
    yield EnforcerSpec(
        name="log-relative",
        factory=log_relative,
        summary="The logarithm of the relative idempotence error as the loss, without warm-up.",
        traits=relative_traits,
        by_hand=partial(_by_hand, "log_relative"),
    )
    yield EnforcerSpec(
        name="truncation",
        factory=truncation,
        summary="A rank of at most r: codes are cut to r directions, at first their leading principal components.",
        reference="arXiv 2405.13980",
        traits=Traits(kinds=kinds(EnforcerKind.ARCHITECTURE), attracts=False, wraps=("encode", "decode")),
    )
