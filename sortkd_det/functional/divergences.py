"""Divergences between two matrices of logits, one number per row."""

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_divergence(student: Tensor, target: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
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


def bernoulli_divergence(
    student: Tensor, target: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    """T² · Σ over classes of KL(σ(target / T) ‖ σ(student / T)) of each row.

    For heads that give each class a sigmoid of its own: each class is a choice
    between itself and nothing, a softmax over the logits (z, 0).

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        temperature: T > 0.

    Returns:
        (N,) tensor, each ≥ 0 up to rounding.
    """
    student, target = student / temperature, target / temperature
    on, on_target = F.logsigmoid(student), F.logsigmoid(target)
    off, off_target = on - student, on_target - target
    divergence = F.kl_div(on, on_target, reduction='none', log_target=True)
    divergence = divergence + F.kl_div(off, off_target, reduction='none', log_target=True)
    return divergence.sum(1) * temperature**2


def decoupled_kd(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor = 1.0
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

    def pair_and_rest(logits: Tensor) -> tuple[Tensor, Tensor]:
        own, rest = _split(logits / temperature, labels)
        odds = own - rest.logsumexp(1, keepdim=True)
        # A two-way softmax written as two logits: (odds, 0) is (label, rest).
        return torch.cat([odds, torch.zeros_like(odds)], dim=1), rest

    student_pair, student_rest = pair_and_rest(student)
    target_pair, target_rest = pair_and_rest(target)
    tckd = kl_divergence(student_pair, target_pair) * temperature**2
    nckd = kl_divergence(student_rest, target_rest) * temperature**2
    return tckd, nckd


def normalized_kd(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """The two parts of normalised distillation of each row.

    The first is -p_t[y] · log p_s[y] at temperature 1, the second T² times the
    cross-entropy between the softmaxes at T over the classes other than y.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        labels: (N,) int64 y, each in [0, C).
        temperature: T > 0 of the second part.

    Returns:
        Both parts, (N,) each.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge
    Distillation" (ICCV 2023, arXiv 2303.13005), equation 8.
    """
    label = labels[:, None]
    own = -(target.softmax(1) * student.log_softmax(1)).gather(1, label).squeeze(1)
    _, student_rest = _split(student / temperature, labels)
    _, target_rest = _split(target / temperature, labels)
    others = -(target_rest.softmax(1) * student_rest.log_softmax(1)).sum(1) * temperature**2
    return own, others


def transformed_kd(student: Tensor, target: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Distillation from a power of the teacher's distribution, per row.

    KL(p_t^γ / Σ p_t^γ ‖ p_s) with the student at temperature 1, and Σ p_t^γ, the
    weight that WTTM gives the row.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        gamma: exponent γ > 0; 1 / γ is the teacher's temperature.

    Returns:
        Divergences and weights, (N,) each; weights lie in [1, C^(1 - γ)] for γ ≤ 1.

    Source: Zheng and Yang, "Knowledge Distillation Based on Transformed
    Teacher Matching" (ICLR 2024, arXiv 2402.11148), equations 12 and 15.
    """
    weight = (gamma * target.log_softmax(1)).logsumexp(1).exp()
    return kl_divergence(student, gamma * target), weight


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's logit (N, 1) and those of the other classes (N, C - 1) in their order."""
    others = torch.arange(logits.shape[1] - 1, device=labels.device)
    others = others + (others >= labels[:, None])
    return logits.gather(1, labels[:, None]), logits.gather(1, others)
