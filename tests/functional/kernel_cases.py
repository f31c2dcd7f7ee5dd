"""Random cases for the Triton kernels against plain torch, on a device or by Triton's interpreter.

The interpreter runs kernels on the CPU; it must be chosen before Triton is imported:
``TRITON_INTERPRET=1 python tests/functional/kernel_cases.py``.
"""

import random

import torch
import triton.language as tl
from parts import row_losses

from sortkd_det.functional import fused, reduce_rows, sort, sort_logits
from sortkd_det.functional.kernels import divergence_cuda, rank_cuda, sort_cuda
from sortkd_det.functional.ranks import _rank_with_torch

KINDS = ('plain', 'ties', 'zeros', 'half ties', 'outlier', 'infinite', 'nan')
HALVES = (torch.float16, torch.bfloat16)


def random_logits(num_rows, num_classes, kind, dtype, generator):
    """Logits of one of ``KINDS``."""
    logits = 3 * torch.randn(num_rows, num_classes, generator=generator)
    if kind == 'ties':
        logits = logits.round()
    elif kind == 'zeros':  # both zeros, and numbers around them
        signs = torch.randn(num_rows, num_classes, generator=generator)
        logits = torch.copysign(logits.round().clamp(-1, 1), signs)
    elif kind == 'half ties':
        logits = logits.bfloat16().float()
    elif kind == 'outlier':  # coarse keys cannot tell the others apart
        logits[:, 0] = 6e4
    elif kind == 'infinite':
        logits[:, ::3] = float('inf')
        logits[:, 1::5] = -float('inf')
    elif kind == 'nan':
        logits[0, -1] = float('nan')
    return logits.to(dtype)


def bits(tensor):
    """The numbers' bits, which tell -0.0 and NaNs apart."""
    return tensor.cpu().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize])


def check_sort(device, chooser, generator, widths, launch=None):
    """One width and dtype, logits of each kind: equal to the bit, values and sources."""
    num_classes = chooser.choice(widths)
    dtype = chooser.choice((*HALVES, torch.float32, torch.float32))
    for kind in KINDS:
        _check_sort_of(kind, num_classes, dtype, device, chooser, generator, launch)


def _check_sort_of(kind, num_classes, dtype, device, chooser, generator, launch):
    num_rows = chooser.randint(1, 6)
    logits = random_logits(num_rows, num_classes, kind, dtype, generator)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    if chooser.random() < 0.5:  # a label near the top, as most are
        above = chooser.randint(0, min(4, num_classes - 1))
        labels = logits.float().argsort(dim=1, descending=True)[:, above].contiguous()
    ignored = chooser.choice((None, int(labels[0])))
    there = logits.to(device), labels.to(device), ignored
    expected = sort_logits(logits, labels, ignored)
    found = sort_cuda.sort_rows(*there)
    assert torch.equal(bits(found), bits(expected)), (dtype, logits, labels, ignored, launch)
    sources = sort_cuda.sort_rows(*there, sources=True)
    assert torch.equal(bits(there[0].gather(1, sources)), bits(expected))


def check_sort_out_of_range(device):
    """Rows whose label is no class come back as they are."""
    logits = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], device=device)
    labels = torch.tensor([-7, 3], device=device)
    assert torch.equal(sort_cuda.sort_rows(logits, labels, None), logits)


def check_divergence(device, chooser, generator, widths):
    """One case: value and gradient of float64 within float32's and the dtype's rounding."""
    num_rows, num_classes = chooser.randint(1, 9), chooser.choice(widths)
    dtypes = [chooser.choice((*HALVES, torch.float32, torch.float32)) for _ in range(2)]
    student, target = (
        random_logits(num_rows, num_classes, 'plain', dtype, generator) for dtype in dtypes
    )
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    ignored, sort = chooser.choice((None, int(labels[0]))), chooser.random() < 0.7
    is_wide = num_classes > sort_cuda.WIDEST
    kind = 'kd' if is_wide else chooser.choice(('kd', 'dkd', 'bernoulli'))
    temperatures = chooser.choice(
        ((1.0,), (4.0,)) if is_wide else ((1.0,), (4.0,), (1.0, 2.0, 0.5))
    )
    weight = chooser.choice((None, torch.rand(num_rows, generator=generator)))
    avg_factor = chooser.choice((None, 3.0, torch.tensor(2.5)))
    there = [x.to(device) if isinstance(x, torch.Tensor) else x for x in (weight, avg_factor)]
    unit = chooser.choice((1.0, 256.0))
    loss, gradient = divergence_cuda.divergence(
        student.to(device), target.to(device), labels.to(device), *there,
        kind, temperatures, 1.5, 0.7, 1.0, sort, ignored, unit,
    )  # fmt: skip
    leaf = student.double().requires_grad_()
    followed = (sort_logits(target, labels, ignored) if sort else target).double()
    rows = row_losses(kind, leaf, followed, labels, temperatures, 1.5, 0.7)
    expected = reduce_rows(rows, weight, avg_factor)
    (slope,) = torch.autograd.grad(expected, leaf)
    # A sum over 20,000 classes rounds more than one over 80.
    torch.testing.assert_close(loss.cpu().double(), expected.detach(), rtol=3e-5, atol=3e-6)
    assert gradient.dtype == student.dtype
    rounding = torch.finfo(student.dtype).eps
    tolerance = dict(rtol=max(2 * rounding, 2e-4), atol=max(rounding * 1e-2, 2e-6))
    in_place, upstream = chooser.random() < 0.5, chooser.choice((1.0, 3.0))
    there = torch.tensor(upstream, device=device)
    scaled = divergence_cuda.scale(gradient, there, unit, in_place)
    assert (scaled is gradient) == in_place
    torch.testing.assert_close(scaled.cpu().double(), upstream * slope, **tolerance)


def check_ranks(device, chooser, generator, widths):
    """One case: ranks and gradients of float64."""
    num_rows, num_classes = chooser.randint(1, 6), chooser.choice(widths)
    strength, spread = chooser.choice((0.1, 1.0, 3.0)), chooser.choice((0.5, 3.0, 30.0))
    values = spread * torch.randn(num_rows, num_classes, generator=generator)
    if chooser.random() < 0.3:
        values = values.round()
    upstream = torch.randn(values.shape, generator=generator)
    leaf, wide = values.clone().to(device), values.double().requires_grad_()
    leaf.requires_grad_()
    ranks, expected = rank_cuda.soft_rank(leaf, strength), _rank_with_torch(wide, strength)
    torch.testing.assert_close(ranks.cpu(), expected.float(), rtol=1e-6, atol=1e-5)
    (gradient,) = torch.autograd.grad(ranks, leaf, upstream.to(device))
    (slope,) = torch.autograd.grad(expected, wide, upstream.double())
    torch.testing.assert_close(gradient.cpu(), slope.float(), rtol=1e-5, atol=1e-5)
    values[0, 0] = float('nan')
    assert rank_cuda.soft_rank(values.to(device), strength)[0].isnan().all()


def check_operators(device):
    """What torch.compile is told of the operators is what they give, strides included."""
    fused.load_kernels = sort.load_kernels = {
        'divergence_cuda': divergence_cuda,
        'sort_cuda': sort_cuda,
    }.get  # in the interpreter the modules' own checks find no device
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(7, 5, generator=generator).to(device).t().requires_grad_()
    target = torch.randn(7, 5, generator=generator).to(device).t()
    labels = torch.randint(7, (5,), generator=generator).to(device)
    settings = (None, None, 2.0, 'kd', [1.0], 1.0, 1.0, 1.0, True, None, 1.0)
    torch.library.opcheck(fused._divergence_op, (student, target, labels, *settings))
    for sources in (False, True):
        torch.library.opcheck(sort._rows_op, (target, labels, None, sources))


if __name__ == '__main__':
    chooser, generator = random.Random(0), torch.Generator().manual_seed(0)
    launch_of = sort_cuda.launch_of
    for few, rows in ((8, 1), (0, 1), (0, 4), (2, 2)):  # moved one by one, and by the network
        chosen = {'few': few, 'ROWS': rows, 'THREADS': 32 // rows}
        for module in (sort_cuda, divergence_cuda):
            module.launch_of = lambda *shape, chosen=chosen: {**launch_of(*shape), **chosen}
        # Losses added up within the kernel, in several turns, and behind it.
        divergence_cuda._FEW_ROWS, divergence_cuda._AT_ONCE = 1024 * (few > 0), tl.constexpr(rows)
        for _ in range(3):
            check_sort('cpu', chooser, generator, (2, 3, 16, 81), chosen)
            check_divergence('cpu', chooser, generator, (2, 7, 16, 81))
        # Gradients scaled by torch and by the kernel, in several programs.
        divergence_cuda._WORTH_A_LAUNCH, divergence_cuda._BLOCK = 2**20 * (few > 0), 64
    check_sort_out_of_range('cpu')
    check_operators('cpu')
    for _ in range(4):
        check_ranks('cpu', chooser, generator, (2, 7, 16, 50))
    # Wide rows, by pieces.
    sort_cuda.WIDEST = divergence_cuda.WIDEST = 1
    for shape in ((8, 4, 100), (16, 16, 1), (4, 8, 2)):
        sort_cuda._SPAN, sort_cuda._PIECE, sort_cuda._WIDE_PROGRAMS = shape
        divergence_cuda._PIECE = 16
        for _ in range(2):
            check_sort('cpu', chooser, generator, (7, 16, 50))
            check_divergence('cpu', chooser, generator, (7, 50))
    print('agree')
