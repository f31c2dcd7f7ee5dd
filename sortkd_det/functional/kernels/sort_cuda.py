"""The sort on CUDA, alone and fused with KD's divergence: one Triton program a row.

Triton comes with torch's CUDA builds; nothing here makes the host wait for the device.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _label_of(labels, row, num_classes, ignore_index, IGNORE: tl.constexpr):
    """The row's label; -1 where it is to be left alone or is out of range."""
    label = tl.load(labels + row)
    fits = (label >= 0) & (label < num_classes)
    if IGNORE:
        fits = fits & (label != ignore_index)
    return tl.where(fits, label, -1)


@triton.jit
def _sorted_sources(logits, row, label, num_classes, BLOCK: tl.constexpr):
    """For each class of a row, the class whose logit it is given, (BLOCK,) int64."""
    columns = tl.arange(0, BLOCK).to(tl.int64)
    inside = columns < num_classes
    start = logits + row * num_classes
    values = tl.load(start + columns, mask=inside, other=-float('inf'))
    label_value = tl.load(start + tl.maximum(label, 0))
    if values.dtype.primitive_bitwidth == 16:  # compared in float32, which holds them exactly
        values, label_value = values.to(tl.float32), label_value.to(tl.float32)
    above = inside & (values > label_value) & (label >= 0)
    holds_nan = tl.sum((inside & (values != values)).to(tl.int32), axis=0) > 0
    above = above & (holds_nan == 0)
    count = tl.sum(above.to(tl.int32), axis=0)
    source = columns
    receiver = label
    # Each of the classes above the label hands its logit to the one before it.
    for _ in range(0, count):
        best = tl.max(tl.where(above, values, -float('inf')), axis=0)
        giver = tl.min(tl.where(above & (values == best), columns, BLOCK), axis=0)
        source = tl.where(columns == receiver, giver, source)
        above = above & (columns != giver)
        receiver = giver
    return tl.where((columns == receiver) & (count > 0), label, source)


@triton.jit
def _sort_kernel(
    logits, labels, result, sources, num_classes, ignore_index,
    IGNORE: tl.constexpr, WANT_SOURCES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < num_classes
    label = _label_of(labels, row, num_classes, ignore_index, IGNORE)
    source = _sorted_sources(logits, row, label, num_classes, BLOCK)
    start = row * num_classes
    if WANT_SOURCES:
        tl.store(sources + start + columns, source, mask=inside)
    else:
        values = tl.load(logits + start + source, mask=inside)
        tl.store(result + start + columns, values, mask=inside)


@triton.jit
def _log_softmax(values, inside):
    """(BLOCK,) float32; what is not inside holds anything."""
    values = tl.where(inside, values, -float('inf'))
    shifted = values - tl.max(values, axis=0)
    return shifted - tl.log(tl.sum(tl.exp(shifted), axis=0))


@triton.jit
def _sorted_kl_kernel(
    student, target, labels, losses, gradient, num_classes, temperature, ignore_index,
    IGNORE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < num_classes
    start = row * num_classes
    label = _label_of(labels, row, num_classes, ignore_index, IGNORE)
    source = _sorted_sources(target, row, label, num_classes, BLOCK)
    target_values = tl.load(target + start + source, mask=inside).to(tl.float32)
    student_values = tl.load(student + start + columns, mask=inside).to(tl.float32)
    log_target = _log_softmax(target_values / temperature, inside)
    log_student = _log_softmax(student_values / temperature, inside)
    p_target = tl.where(inside, tl.exp(log_target), 0.0)
    p_student = tl.where(inside, tl.exp(log_student), 0.0)
    terms = tl.where(p_target > 0, p_target * (log_target - log_student), 0.0)
    tl.store(losses + row, tl.sum(terms, axis=0) * temperature * temperature)
    # d/ds of T² · KL is T · (p_s - p_t).
    tl.store(gradient + start + columns, temperature * (p_student - p_target), mask=inside)


def sort_rows(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """:func:`~sortkd_det.functional.sort_logits` for checked arguments on CUDA.

    A row whose label is out of range comes back as it is.
    """
    num_rows, num_classes = logits.shape
    if num_rows == 0:
        return logits.clone()
    source = logits.detach().contiguous()
    wants_gradient = logits.requires_grad and torch.is_grad_enabled()
    result = torch.empty(
        logits.shape, dtype=torch.int64 if wants_gradient else logits.dtype, device=logits.device
    )
    _sort_kernel[(num_rows,)](
        source, labels.contiguous(), result, result, num_classes, ignore_index or 0,
        IGNORE=ignore_index is not None, WANT_SOURCES=wants_gradient, **_launch(num_classes),
    )  # fmt: skip
    return logits.gather(1, result) if wants_gradient else result


def sorted_kl(
    student: Tensor, target: Tensor, labels: Tensor, temperature: float, ignore_index: int | None
) -> Tensor:
    """T² · KL between the sorted target and the student, per row, for checked CUDA arguments.

    The sorted target is never written to memory. Gradients flow to the student only.
    """
    return _SortedKL.apply(student, target.detach(), labels, temperature, ignore_index)


class _SortedKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        temperature: float,
        ignore_index: int | None,
    ) -> Tensor:
        num_rows, num_classes = student.shape
        losses = torch.empty(num_rows, dtype=torch.float32, device=student.device)
        gradient = torch.empty(student.shape, dtype=torch.float32, device=student.device)
        if num_rows:
            _sorted_kl_kernel[(num_rows,)](
                student.contiguous(), target.contiguous(), labels.contiguous(), losses, gradient,
                num_classes, float(temperature), ignore_index or 0,
                IGNORE=ignore_index is not None, **_launch(num_classes),
            )  # fmt: skip
        ctx.save_for_backward(gradient)
        ctx.dtype = student.dtype
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[:, None]).to(ctx.dtype), None, None, None, None


def _launch(num_classes: int) -> dict[str, int]:
    """Width of a program and its warps: eight numbers a thread, at most eight warps."""
    block = triton.next_power_of_2(num_classes)
    return {'BLOCK': block, 'num_warps': min(max(block // 256, 1), 8)}


def check() -> None:
    """Raise unless the kernels give on the device what they must give."""
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    labels = torch.tensor([3, 0], device='cuda')
    expected = torch.tensor([[0.0, 2.0, 1.0, 3.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    if not torch.equal(sort_rows(logits, labels, None), expected):
        raise RuntimeError('the sort kernel gives wrong results on this device')
    divergence = sorted_kl(expected, logits, labels, 1.0, None)
    if not (divergence.abs() < 1e-5).all():
        raise RuntimeError('the fused kernel gives wrong results on this device')
