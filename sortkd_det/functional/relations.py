"""How rows, classes and their order relate: correlations, Gram matrices, orders, quantiles."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .checks import check_logits

_EPS = 1e-8  # DIST's authors' guard against rows without variance
_PAIRS_AT_ONCE = 2**23  # pairs of classes that are held in memory together


def pearson_correlation(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Pearson's correlation of each row of ``a`` with that of ``b``.

    Args:
        a: (R, K).
        b: (R, K).
        weight: (K,), ≥ 0: weights of the K entries of a row; None: ones.

    Returns:
        (R,) tensor in [-1, 1]; 0 where a row has no variance.
    """
    if weight is None:
        a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    else:
        share = weight / weight.sum().clamp(min=_EPS)
        a, b = ((x - x @ share[:, None]) * weight.sqrt() for x in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + _EPS)


def gram_distance(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j (AAᵀ - BBᵀ)²_ij of each row i.

    Args:
        a: (R, K), often probabilities.
        b: (R, K).

    Returns:
        (R,) tensor, ≥ 0.
    """
    return (a @ a.T - b @ b.T).square().sum(1)


def nan_quantile(values: Tensor, quantile: float) -> Tensor:
    """The quantile of the numbers among ``values``, to the bit ``values.nanquantile(quantile)``.

    torch's own functions look at the data on the host, which a compiled graph cannot do on every
    torch that is supported.

    Args:
        values: (N,) floating tensor, N ≥ 1; NaN stands for what plays no part.
        quantile: in [0, 1]; between two of the ordered values it lies on the line between them.

    Returns:
        Scalar tensor; NaN where nothing else is given.
    """
    last = values.isnan().logical_not().sum() - 1  # NaN comes last in the order
    rank = (values.new_full((1,), quantile) * last).clamp(min=0)
    ordered = values.sort().values
    below, above = (ordered.gather(0, place.long()) for place in (rank.floor(), rank.ceil()))
    return below.lerp(above, rank - rank.floor())[0]


def kendall_tau(student: Tensor, target: Tensor, steepness: float = 1.0) -> Tensor:
    """A smooth Kendall's τ between the orders of the classes in each row.

    2 / (C (C - 1)) · Σ_{i<j} tanh(k (s_i - s_j)) · tanh(k (t_i - t_j)).

    Args:
        student: (N, C) logits s.
        target: (N, C) logits t.
        steepness: k > 0; the larger, the closer to Kendall's τ (and the
            smaller the gradients).

    Returns:
        (N,) tensor in (-1, 1). Takes O(N C²) time; memory is bounded.

    Source: Guan et al., "Enhancing Logits Distillation with Plug&Play Kendall's
    τ Ranking Loss" (ICML 2025, arXiv 2409.17823).
    """
    check_logits(student, 'student')  # of one class there is no order
    num_classes = student.shape[1]
    rows_at_once = max(_PAIRS_AT_ONCE // num_classes**2, 1)
    scaled = steepness * student, steepness * target
    if len(student) <= rows_at_once:
        sums = _sum_concordance(*scaled)
    else:
        # Backward computes the pairs again instead of keeping them all.
        sums = torch.cat(
            [
                checkpoint(_sum_concordance, s, t, use_reentrant=False)
                for s, t in zip(*(x.split(rows_at_once) for x in scaled), strict=True)
            ]
        )
    return sums / (num_classes * (num_classes - 1))


def _sum_concordance(a: Tensor, b: Tensor) -> Tensor:
    """Σ_ij tanh(a_i - a_j) · tanh(b_i - b_j) of each row, every pair counted twice."""
    difference_a = a[:, :, None] - a[:, None]
    difference_b = b[:, :, None] - b[:, None]
    return (difference_a.tanh() * difference_b.tanh()).sum((1, 2))


def plackett_luce(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    """The student's weighted negative log-likelihood of the teacher's order, per row.

    The order is the one that sorting makes: the label first, then the classes
    by descending target logit (the lower index first among equal ones). Step k
    chooses its class π_k among those that are left and is weighted by the
    teacher's probability α of that class:
    Σ_k α_{π_k} · (log Σ_{l≥k} exp s_{π_l} - s_{π_k}).

    Args:
        student: (N, C) logits s.
        target: (N, C) logits that the student is to follow.
        labels: (N,) int64, each in [0, C).
        temperature: T > 0 of the teacher's probabilities.

    Returns:
        (N,) tensor, ≥ 0.

    Source: Bassam et al., "PLD: A Choice-Theoretic List-Wise Knowledge
    Distillation" (arXiv 2506.12542).
    """
    lifted = target.detach().scatter(1, labels[:, None], torch.inf)
    order = lifted.argsort(dim=1, descending=True, stable=True)
    alpha = (target / temperature).softmax(1).gather(1, order)
    ordered = student.gather(1, order)
    left = ordered.flip(1).logcumsumexp(1).flip(1)
    return (alpha * (left - ordered)).sum(1)
