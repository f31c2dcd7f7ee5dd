"""Pure functions on (N, C) logits and (N,) labels; they need torch alone."""

from .checks import (
    ACTIVATIONS,
    check_choice,
    check_finite,
    check_labels,
    check_pair,
    check_positive,
    check_quantile,
    check_row_losses,
    check_scalar,
    check_weight,
    check_whole,
    is_debug,
    set_debug,
)
from .divergences import (
    bernoulli_divergence,
    decoupled_bernoulli,
    decoupled_kd,
    focused_cross_entropy,
    kl_divergence,
    normalized_kd,
    transformed_bernoulli,
    transformed_kd,
)
from .fused import Divergence, fused_loss, sorts_in_kernel
from .ranks import soft_rank
from .reduction import reduce_rows
from .relations import gram_distance, kendall_tau, nan_quantile, pearson_correlation, plackett_luce
from .sort import Sort, sort_classes, sort_logits
from .standardize import standardize_logits
from .swap import swap_logits
from .translate import translate

__all__ = [
    'ACTIVATIONS',
    'Divergence',
    'Sort',
    'bernoulli_divergence',
    'check_choice',
    'check_finite',
    'check_labels',
    'check_pair',
    'check_positive',
    'check_quantile',
    'check_row_losses',
    'check_scalar',
    'check_weight',
    'check_whole',
    'decoupled_bernoulli',
    'decoupled_kd',
    'focused_cross_entropy',
    'fused_loss',
    'gram_distance',
    'is_debug',
    'kendall_tau',
    'kl_divergence',
    'nan_quantile',
    'normalized_kd',
    'pearson_correlation',
    'plackett_luce',
    'reduce_rows',
    'set_debug',
    'soft_rank',
    'sort_classes',
    'sort_logits',
    'sorts_in_kernel',
    'standardize_logits',
    'swap_logits',
    'transformed_bernoulli',
    'transformed_kd',
    'translate',
]
