"""The standardisation of LSKD (arXiv 2403.01427)."""

import torch
from torch import Tensor

from .checks import check_logits

_EPS = 1e-7


def standardize_logits(logits: Tensor) -> Tensor:
    """Shift and scale each row to mean 0 and standard deviation 1.

    z ← (z - mean) / (1e-7 + std), with the unbiased standard deviation.

    Args:
        logits: (N, C), any floating dtype, C ≥ 2. Not changed.

    Returns:
        (N, C) tensor of the dtype of ``logits``; a row of equal logits becomes
        zeros. Half precision is computed in float32.

    Raises:
        TypeError: logits not floating.
        ValueError: not of shape (N, C) with C ≥ 2.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation" (CVPR
    2024), equation 9.
    """
    check_logits(logits)
    if len(logits) == 0:
        return logits.clone()
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    std, mean = torch.std_mean(wide, dim=1, keepdim=True)
    return ((wide - mean) / (_EPS + std)).to(logits.dtype)
