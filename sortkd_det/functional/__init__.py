"""Pure functions on (N, C) logits and (N,) labels; they need torch alone."""

from .checks import check_labels, check_pair, check_positive, check_weight
from .divergences import decoupled_kd, kl_divergence
from .reduction import reduce_rows
from .sort import sort_logits

__all__ = [
    'check_labels',
    'check_pair',
    'check_positive',
    'check_weight',
    'decoupled_kd',
    'kl_divergence',
    'reduce_rows',
    'sort_logits',
]
