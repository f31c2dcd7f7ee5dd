"""Divergences between two matrices of logits, one number per row."""

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_divergence(student: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(target / T) ‖ softmax(student / T)) of each row.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        temperature: T > 0.

    Returns:
        (N,) tensor, each ≥ 0 up to rounding.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network"
    (arXiv 1503.02531).
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_target = F.log_softmax(target / temperature, dim=1)
    divergence = F.kl_div(log_student, log_target, reduction='none', log_target=True)
    return divergence.sum(1) * temperature**2


def decoupled_kd(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The two halves of decoupled distillation, TCKD and NCKD, of each row.

    TCKD is the divergence between the two-way distributions (label, all other
    classes), NCKD the one between the distributions over the other classes
    alone; both are multiplied by T².

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        labels: (N,) int64, each in [0, C).
        temperature: T > 0.

    Returns:
        TCKD and NCKD, (N,) each.

    Source: Zhao et al., "Decoupled Knowledge Distillation" (CVPR 2022,
    arXiv 2203.08679), equations 5–7.
    """
    others = torch.arange(student.shape[1] - 1, device=labels.device)
    others = others + (others >= labels[:, None])  # (N, C - 1): all classes but the label

    def odds_and_rest(logits: Tensor) -> tuple[Tensor, Tensor]:
        scaled = logits / temperature
        rest = scaled.gather(1, others)
        return scaled.gather(1, labels[:, None]) - rest.logsumexp(1, keepdim=True), rest

    student_odds, student_rest = odds_and_rest(student)
    target_odds, target_rest = odds_and_rest(target)
    # Two-way softmaxes written as two logits: (odds, 0) is (label, rest).
    student_pair = torch.cat([student_odds, torch.zeros_like(student_odds)], dim=1)
    target_pair = torch.cat([target_odds, torch.zeros_like(target_odds)], dim=1)
    tckd = kl_divergence(student_pair, target_pair) * temperature**2
    nckd = kl_divergence(student_rest, target_rest) * temperature**2
    return tckd, nckd
