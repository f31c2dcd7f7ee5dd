"""Divergences on CUDA: the sort, the loss, weights, average and gradient in one Triton kernel.

The forward pass reads both sides once and writes one loss a row and the gradient of the whole, in
the student's dtype; the backward pass multiplies that by one number, and by 1, as float32 training
has it, in no time. The sorted target never reaches memory, unless classes of its row must be sorted
by the network. Of a batch of few rows the program that ends last adds the losses up, which spares a
launch.
"""

import itertools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import WIDEST_ON_CUDA as WIDEST
from .launch_cuda import ceil_div, current_stream, launch
from .sort_cuda import launch_of, load_labels, scratch_for, sort_rows, sorted_tile
from .tiles_cuda import load_rows, store_rows

_PIECE = 8192  # classes of a wide row that are looked at at once
_FEW_ROWS = 1024  # losses of more are added up by many programs, in a launch of its own
_COUNTERS = 2**14
_BLOCK = 4096  # numbers of a gradient that one program scales
_WORTH_A_LAUNCH = 2**20  # numbers; torch, which does the same for float32, starts sooner
_AT_ONCE: tl.constexpr = tl.constexpr(1024)  # losses that are added up at once
_LOG2_E: tl.constexpr = tl.constexpr(1 / math.log(2))
_LN_2: tl.constexpr = tl.constexpr(math.log(2))
_TINY: tl.constexpr = tl.constexpr(torch.finfo(torch.float32).eps)  # as reduce_rows adds it


@triton.jit
def _exp(number):
    return tl.exp2(number * _LOG2_E)


@triton.jit
def _log(number):
    return tl.log2(number) * _LN_2


@triton.jit
def _exponents(logits, rate, inside):
    """Binary exponents of a softmax's numerators, the largest 0, the numerators and their sum."""
    logits = tl.where(inside, logits, -float('inf'))
    exponents = logits * rate - (tl.max(logits, axis=1) * rate)[:, None]
    numerators = tl.exp2(exponents)
    return exponents, numerators, tl.sum(numerators, axis=1)


@triton.jit
def _cross(numerators, exponents, exponents_student, total, total_student):
    """KL between two softmaxes, in nats, from what :func:`_exponents` gives."""
    terms = tl.where(numerators > 0, numerators * (exponents - exponents_student), 0.0)
    cross = tl.sum(terms, axis=1) / total
    return (cross + tl.log2(total_student) - tl.log2(total)) * _LN_2


@triton.jit
def _kd(student, target, inside, rate, scale):
    """KL of each row, and ``scale`` (ROWS,) times its gradient for the student's logits."""
    student, raised, total = _exponents(student, rate, inside)
    target, raised_target, total_target = _exponents(target, rate, inside)
    value = _cross(raised_target, target, student, total_target, total)
    own, other = scale / total, scale / total_target
    return value, raised * own[:, None] - raised_target * other[:, None]


@triton.jit
def _log_sigmoid(logits):
    return tl.minimum(logits, 0.0) - _log(1.0 + _exp(-tl.abs(logits)))


@triton.jit
def _of_two(on_target, off_target, on, off):
    """KL between two Bernoulli distributions, given by the logarithms of both chances."""
    chance, other = _exp(on_target), _exp(off_target)
    first = tl.where(chance > 0, chance * (on_target - on), 0.0)
    return first + tl.where(other > 0, other * (off_target - off), 0.0)


@triton.jit
def _bernoulli(student, target, inside, scale):
    """KL between Bernoulli distributions, summed over classes, and ``scale`` times its gradient."""
    on, on_target = _log_sigmoid(student), _log_sigmoid(target)
    terms = _of_two(on_target, on_target - target, on, on - student)
    slope = (_exp(on) - _exp(on_target)) * scale[:, None]
    return tl.sum(tl.where(inside, terms, 0.0), axis=1), slope


@triton.jit
def _odds(logits, is_label, others, rate):
    """Log-odds of the label against all others, and :func:`_exponents` of the others."""
    own = tl.sum(tl.where(is_label, logits, 0.0), axis=1) * rate
    top = tl.max(tl.where(others, logits, -float('inf')), axis=1) * rate
    exponents, numerators, total = _exponents(logits, rate, others)
    return (own - top - tl.log2(total)) * _LN_2, exponents, numerators, total


@triton.jit
def _dkd(student, target, inside, is_label, rate, alpha, beta, scale):
    """α · TCKD + β · NCKD of each row, without T², and ``scale`` times its gradient."""
    others = inside & (is_label == 0)
    odds, student, raised, total = _odds(student, is_label, others, rate)
    odds_target, target, raised_target, total_target = _odds(target, is_label, others, rate)
    on, on_target = _log_sigmoid(odds), _log_sigmoid(odds_target)
    tckd = _of_two(on_target, on_target - odds_target, on, on - odds)
    nckd = _cross(raised_target, target, student, total_target, total)
    gap = alpha * (_exp(on) - _exp(on_target)) * scale
    own, other = (beta * scale - gap) / total, beta * scale / total_target
    slope = raised * own[:, None] - raised_target * other[:, None]
    return alpha * tckd + beta * nckd, tl.where(is_label, gap[:, None], slope)


@triton.jit
def _entry(numbers: tl.constexpr, index):
    """The float32 number at ``index`` of a tuple."""
    found = tl.full((), numbers[0], tl.float32)
    for place in tl.static_range(1, len(numbers)):
        found = tl.where(index == place, numbers[place], found)
    return found


@triton.jit
def _factor(scale, avg_factor, HAS_AVG_FACTOR: tl.constexpr):
    """What multiplies each row's loss before its weight; ``avg_factor`` points to a number."""
    if HAS_AVG_FACTOR:
        scale = scale / (tl.load(avg_factor).to(tl.float32) + _TINY)
    return scale


@triton.jit
def _add_up(losses, total, counter, num_rows):
    """In the program that comes here last: write the sum of all losses, always in one order.

    ``counter`` points to a zero, and does again afterwards.
    """
    tl.debug_barrier()  # this program's losses come before its arrival
    if tl.atomic_add(counter, 1, sem='acq_rel', scope='gpu') == tl.num_programs(0) - 1:
        tl.debug_barrier()
        sums = tl.zeros((_AT_ONCE,), tl.float32)
        for start in range(0, num_rows, _AT_ONCE):
            rows = start + tl.arange(0, _AT_ONCE)
            sums += tl.load(losses + rows, mask=rows < num_rows, other=0.0)
        tl.store(total, tl.sum(sums, axis=0))
        tl.store(counter, 0)


@triton.jit(do_not_specialize=['num_rows', 'ignore_index', 'few'])
def _divergence_kernel(
    student, target, labels, weight, avg_factor, losses, gradient, total, counter, scratch,
    num_rows, ignore_index, few, scale, alpha, beta, unit,
    KIND: tl.constexpr, TEMPERATURES: tl.constexpr, SORT: tl.constexpr, IGNORE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, HAS_AVG_FACTOR: tl.constexpr, ADD_UP: tl.constexpr,
    NUM_CLASSES: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
    VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = rows < num_rows
    columns = tl.arange(0, WIDTH)[None, :]
    inside = is_row[:, None] & (columns < NUM_CLASSES)
    student_values = load_rows(student, rows, is_row, 0, NUM_CLASSES, WIDTH, VECTOR, THREADS)
    if SORT:
        sorted_by = load_labels(labels, rows, is_row, NUM_CLASSES, ignore_index, IGNORE)
        target_values = sorted_tile(
            target, scratch, rows, is_row, sorted_by, few, columns,
            NUM_CLASSES, False, VECTOR, THREADS,
        ).to(tl.float32)  # fmt: skip
    else:
        target_values = load_rows(
            target, rows, is_row, 0, NUM_CLASSES, WIDTH, VECTOR, THREADS
        ).to(tl.float32)  # fmt: skip
    student_values = student_values.to(tl.float32)
    factor = _factor(scale, avg_factor, HAS_AVG_FACTOR)
    if HAS_WEIGHT:
        factors = factor * tl.load(weight + rows, mask=is_row, other=0).to(tl.float32)
    else:
        factors = tl.where(is_row, factor, 0.0)
    loss = tl.zeros_like(factors)
    slope = tl.zeros_like(student_values)
    # A loop that is not unrolled: side by side, all temperatures would need all registers at once.
    for index in range(len(TEMPERATURES)):
        temperature = _entry(TEMPERATURES, index)
        # The gradient of T² · f(s / T) is T · f'.
        rate = _LOG2_E / temperature
        scales = factors * (temperature * unit)
        if KIND == 'kd':
            value, slopes = _kd(student_values, target_values, inside, rate, scales)
        elif KIND == 'bernoulli':
            hot_student, hot_target = student_values / temperature, target_values / temperature
            value, slopes = _bernoulli(hot_student, hot_target, inside, scales)
        else:
            label = load_labels(labels, rows, is_row, NUM_CLASSES, 0, False)
            is_label = columns == label[:, None]
            value, slopes = _dkd(
                student_values, target_values, inside, is_label, rate, alpha, beta, scales
            )
            value = tl.where(label >= 0, value, float('nan'))
        loss += value * (temperature * temperature)
        slope += slopes
    tl.store(losses + rows, loss * factors, mask=is_row)
    store_rows(gradient, slope, rows, is_row, NUM_CLASSES, VECTOR, THREADS)
    if ADD_UP:
        _add_up(losses, total, counter, num_rows)


@triton.jit
def _add_numerators(top, total, exponents):
    """Running maxima of binary exponents and sums of their powers below them, lane by lane."""
    higher = tl.maximum(top, exponents)
    return higher, total * tl.exp2(top - higher) + tl.exp2(exponents - higher)


@triton.jit
def _log2_total(top, total):
    """The binary logarithm of a row's sum of powers."""
    peak = tl.max(top, axis=0)
    return peak + tl.log2(tl.sum(total * tl.exp2(top - peak), axis=0))


@triton.jit
def _load_piece(matrix, at, inside, RATE: tl.constexpr):
    """Binary exponents of a piece of a row."""
    return tl.load(matrix + at, mask=inside, other=-float('inf')).to(tl.float32) * RATE


@triton.jit(do_not_specialize=['num_rows'])
def _wide_kd_kernel(
    student, target, weight, avg_factor, losses, gradient, total, counter, num_rows, scale, unit,
    TEMPERATURE: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_AVG_FACTOR: tl.constexpr,
    ADD_UP: tl.constexpr, NUM_CLASSES: tl.constexpr, PIECE: tl.constexpr,
):  # fmt: skip
    """KD of a row wider than registers hold: read once for the sums, once for the rest."""
    RATE: tl.constexpr = _LOG2_E / TEMPERATURE
    row = tl.program_id(0)
    begin = row.to(tl.int64) * NUM_CLASSES
    columns = tl.arange(0, PIECE)
    top_student = tl.full((PIECE,), -3e38, tl.float32)
    top_target = top_student
    total_student = tl.zeros((PIECE,), tl.float32)
    total_target = total_student
    for start in range(0, NUM_CLASSES, PIECE):
        inside = start + columns < NUM_CLASSES
        exponents = _load_piece(student, begin + start + columns, inside, RATE)
        top_student, total_student = _add_numerators(top_student, total_student, exponents)
        exponents = _load_piece(target, begin + start + columns, inside, RATE)
        top_target, total_target = _add_numerators(top_target, total_target, exponents)
    of_student = _log2_total(top_student, total_student)
    of_target = _log2_total(top_target, total_target)
    factor = _factor(scale, avg_factor, HAS_AVG_FACTOR)
    if HAS_WEIGHT:
        factor = factor * tl.load(weight + row).to(tl.float32)
    loss = tl.zeros((PIECE,), tl.float32)
    for start in range(0, NUM_CLASSES, PIECE):
        inside = start + columns < NUM_CLASSES
        at = begin + start + columns
        log_student = _load_piece(student, at, inside, RATE) - of_student
        log_target = _load_piece(target, at, inside, RATE) - of_target
        chances = tl.exp2(log_target)
        loss += tl.where(chances > 0, chances * (log_target - log_student), 0.0)
        slope = (tl.exp2(log_student) - chances) * (TEMPERATURE * factor * unit)
        tl.store(gradient + at, slope.to(gradient.dtype.element_ty), mask=inside)
    value = tl.sum(loss, axis=0) * (TEMPERATURE * TEMPERATURE * _LN_2)
    tl.store(losses + row, value * factor)
    if ADD_UP:
        _add_up(losses, total, counter, num_rows)


@triton.jit(do_not_specialize=['number'])
def _scale_kernel(
    gradient, upstream, result, number, rate, IN_PLACE: tl.constexpr, BLOCK: tl.constexpr
):
    factor = tl.load(upstream).to(tl.float32) * rate
    if (not IN_PLACE) or factor != 1:
        places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        scaled = tl.load(gradient + places, mask=places < number).to(tl.float32) * factor
        tl.store(result + places, scaled.to(result.dtype.element_ty), mask=places < number)


_zeros: dict[torch.device, Tensor] = {}  # counters, each at 16 bytes, as kernels like it
_of_streams: dict[tuple[torch.device, int], Tensor] = {}
_free = itertools.count()


def _counter_for(device: torch.device) -> Tensor | None:
    """A counter that no kernel uses which may run beside the next one; None if there is none.

    Kernels of a stream run one after the other and share one. A kernel that is captured for a
    graph keeps its own, for the graph may be replayed on any stream.
    """
    if device.type != 'cuda':  # Triton's interpreter
        return torch.zeros(1, dtype=torch.int32, device=device)
    is_captured = torch.cuda.is_current_stream_capturing()
    key = device, current_stream(device)
    if not is_captured and key in _of_streams:
        return _of_streams[key]
    if device not in _zeros:
        if is_captured:  # memory of a graph lives no longer than the graph
            return None
        _zeros[device] = torch.zeros(_COUNTERS, 4, dtype=torch.int32, device=device)
        torch.cuda.synchronize(device)  # before any other stream counts there
    index = next(_free)
    if index >= _COUNTERS:
        return None
    counter = _zeros[device][index]
    if not is_captured:
        _of_streams[key] = counter
    return counter


def divergence(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    avg_factor: float | Tensor | None,
    kind: str,
    temperatures: tuple[float, ...],
    alpha: float,
    beta: float,
    loss_weight: float,
    sort: bool,
    ignore_index: int | None,
    unit: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The loss of N ≥ 1 rows, a float32 scalar, and ``unit`` times its gradient.

    The gradient is that for the student's logits. Arguments are those of
    :func:`~sortkd_det.functional.fused_loss`, spread out, on CUDA.
    """
    num_rows, num_classes = student.shape
    student, target = student.detach().contiguous(), target.detach().contiguous()
    labels = labels.contiguous()
    losses = torch.empty(num_rows, dtype=torch.float32, device=student.device)
    gradient = torch.empty_like(student)
    has_factor = isinstance(avg_factor, Tensor)
    scale = float(loss_weight)
    if avg_factor is None:
        scale /= num_rows
    elif not has_factor:
        scale /= avg_factor + torch.finfo(torch.float32).eps
    has_weight = weight is not None
    weight = weight.contiguous() if has_weight else student
    factor = avg_factor if has_factor else student
    counter = _counter_for(student.device) if num_rows <= _FEW_ROWS else None
    adds_up = counter is not None
    total = losses.new_empty(()) if adds_up else losses
    sums = (losses, gradient, total, counter if adds_up else labels)
    if num_classes > WIDEST:
        if sort:
            target = sort_rows(target, labels, ignore_index)
        settings = {
            'TEMPERATURE': temperatures[0],
            'HAS_WEIGHT': has_weight,
            'HAS_AVG_FACTOR': has_factor,
            'ADD_UP': adds_up,
            'NUM_CLASSES': num_classes,
            'PIECE': _PIECE,
            'num_warps': 32,
        }
        arguments = (student, target, weight, factor, *sums, num_rows, scale, unit)
        launch(_wide_kd_kernel, num_rows, arguments, settings)
        return total if adds_up else losses.sum(), gradient
    shape = launch_of(num_rows, num_classes, min(student.element_size(), target.element_size()))
    few = shape.pop('few')
    scratch = scratch_for(num_rows, shape, student.device) if sort else losses
    settings = {
        'KIND': kind,
        'TEMPERATURES': temperatures,
        'SORT': sort,
        'IGNORE': ignore_index is not None,
        'HAS_WEIGHT': has_weight,
        'HAS_AVG_FACTOR': has_factor,
        'ADD_UP': adds_up,
        'NUM_CLASSES': num_classes,
        **shape,
    }
    tensors = (student, target, labels, weight, factor, *sums, scratch)
    numbers = (num_rows, ignore_index or 0, few, scale, float(alpha), float(beta), unit)
    launch(_divergence_kernel, ceil_div(num_rows, shape['ROWS']), tensors + numbers, settings)
    return total if adds_up else losses.sum(), gradient


def scale(gradient: Tensor, upstream: Tensor, unit: float, in_place: bool) -> Tensor:
    """``gradient`` times the scalar ``upstream`` ÷ ``unit``, rounded once.

    In place it takes no time where that is 1, which the device alone knows.
    """
    number = gradient.numel()
    if gradient.dtype == torch.float32 and unit == 1 and number < _WORTH_A_LAUNCH:
        return gradient.mul_(upstream) if in_place else gradient * upstream
    result = gradient if in_place else torch.empty_like(gradient)
    settings = {'IN_PLACE': in_place, 'BLOCK': _BLOCK, 'num_warps': 8}
    arguments = (gradient, upstream, result, number, 1.0 / unit)
    launch(_scale_kernel, ceil_div(number, _BLOCK), arguments, settings)
    return result


def check() -> None:
    """Raise unless the kernel gives on the device what it must give."""
    student = torch.tensor([[1.0, 3.0, 2.0, 0.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    labels = torch.tensor([3, 0], device='cuda')
    mended = torch.tensor([[0.0, 2.0, 1.0, 3.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    for kind in ('kd', 'dkd', 'bernoulli'):
        loss, gradient = divergence(
            mended, student, labels, None, None, kind, (2.0,), 1.0, 1.0, 1.0, True, None
        )
        if not (loss.abs() < 1e-5 and (gradient.abs() < 1e-5).all()):
            raise RuntimeError(f'the fused kernel of {kind} gives wrong results on this device')
