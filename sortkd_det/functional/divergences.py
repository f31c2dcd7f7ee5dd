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
    return _of_each_class(student, target, temperature).sum(1) * temperature**2


def decoupled_bernoulli(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """:func:`bernoulli_divergence` of the label's class and of all other classes.

    As :func:`decoupled_kd`, for heads with a sigmoid for each class, where the two halves
    are parts of one sum.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        labels: (N,) int64, each in [0, C]; C is no class: all classes are others.
        temperature: T > 0.

    Returns:
        Both halves, (N,) each; the first is 0 where the label is C.
    """
    divergences = _of_each_class(student, target, temperature) * temperature**2
    is_label = torch.arange(student.shape[1], device=labels.device) == labels[:, None]
    own = divergences.masked_fill(~is_label, 0).sum(1)
    return own, divergences.masked_fill(is_label, 0).sum(1)


def transformed_bernoulli(student: Tensor, target: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """:func:`transformed_kd` of each class, a choice between itself and nothing.

    The power p_t^γ of such a choice, normalised, is σ(γ · target).

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        gamma: exponent γ > 0.

    Returns:
        Divergences and weights p_t^γ + (1 - p_t)^γ, (N, C) each.
    """
    weight = (gamma * F.logsigmoid(target)).exp() + (gamma * F.logsigmoid(-target)).exp()
    return _of_each_class(student, gamma * target), weight


def focused_cross_entropy(
    student: Tensor, target: Tensor, focus: float, temperature: float | Tensor = 1.0
) -> Tensor:
    """T² · Σ over classes of |p_t - p_s|^β · H(p_t, p_s) of each row, p = σ(logits / T).

    H(p_t, p_s) = -p_t · log p_s - (1 - p_t) · log(1 - p_s) is the binary cross-entropy. The
    gradient flows through the weight |p_t - p_s|^β too.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        focus: β ≥ 1.
        temperature: T > 0.

    Returns:
        (N,) tensor, each ≥ 0.

    Source: Yang et al., "Bridging Cross-task Protocol Inconsistency for Distillation in
    Dense Object Detection" (ICCV 2023, arXiv 2308.14286), at T 1.
    """
    student, chances = student / temperature, (target / temperature).sigmoid()
    entropy = F.binary_cross_entropy_with_logits(student, chances, reduction='none')
    gap = (chances - student.sigmoid()).abs()
    return (gap**focus * entropy).sum(1) * temperature**2


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


def _of_each_class(student: Tensor, target: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """KL(σ(target / T) ‖ σ(student / T)) of each class, (N, C), without T²."""
    student, target = student / temperature, target / temperature
    on, on_target = F.logsigmoid(student), F.logsigmoid(target)
    off, off_target = on - student, on_target - target
    divergence = F.kl_div(on, on_target, reduction='none', log_target=True)
    return divergence + F.kl_div(off, off_target, reduction='none', log_target=True)
