"""Time the kernels on a CUDA device, as multiples of a copy of the same matrix.

A kernel's own time is taken by replaying a CUDA graph over input sets that together exceed the
L2 cache; "called from Python" is what a loop of calls takes, launches and argument checks included.
All functions are checked against the CPU before the clock starts.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from report import Table, installed, verdict, write_record
from sort import Case, make_case, sort_published
from torch import Tensor

from sortkd_det.functional import Sort, soft_rank, sort_logits
from sortkd_det.losses import DKDLoss, KDLoss

# Bytes of all input sets of a case: more than any L2 holds.
_ENOUGH = 2**28


class Target(NamedTuple):
    """A case and how many copies of its matrix the sort, and sort + KD, may take."""

    case: Case
    sort: float | None = None
    loss: float | None = None
    published: float | None = None


TARGETS = (
    *(Target(Case(1024, 81, wrong, None), 1.5, 4) for wrong in (0.05, 0.30)),
    Target(Case(4096, 1000, 0.25, None), 1.6, 3.5),
    *(
        Target(Case(8192, 1000, wrong, None), sort, 3)
        for wrong, sort in ((0.05, 1.5), (0.30, 1.6), (1.0, 2.2))
    ),
    *(
        Target(Case(65536, 80, wrong, None), sort, 3.2)
        for wrong, sort in ((0.05, 1.5), (0.30, 1.6), (1.0, 2.0))
    ),
    Target(Case(8192, 1000, 1.0, None, any_rank=True), 8, 10, 5),
    Target(Case(65536, 80, 1.0, None, any_rank=True), 4, 6),
    Target(Case(1024, 81, 1.0, None, any_rank=True)),
    Target(Case(2048, 21842, 0.30, None), 3, 6),
)
RANK_SHAPES = ((64, 100), (512, 1000), (4096, 100), (4096, 1000))


def graph_seconds(calls: Sequence[Callable[[], object]], blocks: int) -> list[float]:
    """Seconds of a call, in each of some blocks, when a graph of all of them is replayed."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls[:2]:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    seconds = []
    for _ in range(blocks):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(3):
            graph.replay()
        stop.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(stop) / 3e3 / len(calls))
    del graph
    return seconds


def python_seconds(call: Callable[[], object], repeats: int = 200) -> float:
    """Seconds of a call in a loop of them, as a program makes it."""
    for _ in range(10):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def input_sets(case: Case, dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Students, targets and labels on the device; rows in another order in each set."""
    logits, labels = make_case(case)
    logits = logits.to('cuda', dtype)
    labels = labels.cuda()
    number = max(min(_ENOUGH // (2 * logits.numel() * logits.element_size()), 64), 4)
    sets = []
    for _ in range(number):
        rows = torch.randperm(len(logits), device='cuda')
        student = torch.randn(logits.shape, device='cuda').to(dtype).requires_grad_()
        sets.append((student, logits[rows], labels[rows]))
    return sets


def check(student: Tensor, target: Tensor, labels: Tensor) -> None:
    """Raise unless sort and loss on the device are those of the CPU."""
    expected = sort_logits(target.cpu(), labels.cpu())
    assert torch.equal(sort_logits(target, labels).cpu(), expected)
    loss = KDLoss()(student, target, labels, rewrite=Sort())
    (gradient,) = torch.autograd.grad(loss, student)
    leaf = student.detach().cpu().double().requires_grad_()
    reference = KDLoss()(leaf, expected.double(), labels.cpu())
    (slope,) = torch.autograd.grad(reference, leaf)
    torch.testing.assert_close(loss.cpu().double(), reference.detach(), rtol=1e-5, atol=1e-6)
    norm = (gradient.cpu().double() - slope).norm() / slope.norm()
    assert norm < (1e-5 if student.dtype == torch.float32 else 1e-2), norm


def step(
    loss: Callable, sort: bool = True, activation: str = 'softmax', scale: float = 1.0
) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Forward and backward of a loss on one input set, times a scale, as mixed precision has it."""

    def run(student: Tensor, target: Tensor, labels: Tensor) -> None:
        value = loss(
            student, target, labels, rewrite=Sort() if sort else None, activation=activation
        )
        torch.autograd.grad(value if scale == 1 else scale * value, student)

    return run


def measure(target: Target, dtype: torch.dtype, blocks: int) -> list[str]:
    """Check and time a case; returns its row of the table."""
    case = target.case
    sets = input_sets(case, dtype)
    check(*sets[0])
    functions = {
        'copy': lambda student, logits, labels: logits.clone(),
        'sort': lambda student, logits, labels: sort_logits(logits, labels),
        'published': lambda student, logits, labels: sort_published(logits, labels),
        'sort + KD': step(KDLoss()),
        'scaled': step(KDLoss(), scale=1024.0),
        'KD': step(KDLoss(), sort=False),
        'six T': step(KDLoss([1, 2, 3, 4, 5, 6])),
        'DKD': step(DKDLoss()),
        'Bernoulli': step(KDLoss(), activation='sigmoid'),
    }
    times = {}
    for name, function in functions.items():
        if name in ('six T', 'DKD', 'Bernoulli') and case.num_classes > 4096:
            continue  # by plain torch
        few = sets[:4] if name == 'published' else sets
        calls = [lambda f=function, s=chosen: f(*s) for chosen in few]
        times[name] = statistics.median(graph_seconds(calls, blocks))
    copy = times['copy']
    sort, loss = times['sort'] / copy, times['sort + KD'] / copy
    speedup = times['published'] / times['sort']
    met = [
        actual <= wanted
        for actual, wanted in ((sort, target.sort), (loss, target.loss))
        if wanted is not None
    ] + ([speedup >= target.published] if target.published else [])
    wanted = '-'
    if target.sort:
        wanted = f'≤ {target.sort:g}, ≤ {target.loss:g}'
        wanted += f', ≥ {target.published:g}×' if target.published else ''
    return [
        f'{case.num_rows} × {case.num_classes}',
        f'{case.wrong:.0%}',
        'any' if case.any_rank else '2–5',
        f'{copy * 1e6:.1f}',
        f'{sort:.2f}',
        f'{speedup:.1f}×',
        f'{loss:.2f}',
        wanted,
        verdict(all(met)) if met else '-',
        *(
            f'{times[name] / copy:.2f}' if name in times else '-'
            for name in ('scaled', 'KD', 'six T', 'DKD', 'Bernoulli')
        ),
    ]


COLUMNS = (
    'logits',
    'wrong',
    'rank',
    'copy, µs',
    'sort ÷ copy',
    'published ÷ sort',
    'sort + KD ÷ copy',
    'targets',
    'result',
    'scaled',
    'KD',
    'six temperatures',
    'DKD',
    'Bernoulli',
)


def rank_rows(blocks: int) -> list[list[str]]:
    """Soft ranks, forward and backward, called from Python, beside torchsort's CUDA kernel."""
    rows = []
    for shape in RANK_SHAPES:
        values = torch.randn(shape, device='cuda', requires_grad=True)
        upstream = torch.randn(shape, device='cuda')

        def ours(values: Tensor = values, upstream: Tensor = upstream) -> None:
            torch.autograd.grad(soft_rank(values), values, upstream)

        kernel = statistics.median(graph_seconds([ours] * 8, blocks))
        called = python_seconds(ours)
        row = [f'{shape[0]} × {shape[1]}', f'{kernel * 1e6:.0f}', f'{called * 1e6:.0f}']
        if installed('torchsort') != 'missing':
            import torchsort

            def theirs(values: Tensor = values, upstream: Tensor = upstream) -> None:
                ranks = torchsort.soft_rank(-values, regularization_strength=1.0)
                torch.autograd.grad(ranks, values, upstream)

            torch.testing.assert_close(
                soft_rank(values), torchsort.soft_rank(-values), rtol=1e-4, atol=1e-3
            )
            other = python_seconds(theirs, 50)
            row += [f'{other * 1e6:.0f}', f'{called / other:.2f}', '≤ 0.2']
            row.append(verdict(called / other <= 0.2))
        else:
            row += ['-'] * 4
        rows.append(row)
    return rows


def python_rows() -> list[list[str]]:
    """What calls take from Python, where the host is what one waits for."""
    sets = input_sets(Case(1024, 81, 0.30, None), torch.float32)
    student, target, labels = sets[0]
    sort_and_kd = step(KDLoss())

    def plain() -> None:
        value = F.kl_div(student.log_softmax(1), target.log_softmax(1), log_target=True)
        torch.autograd.grad(value, student)

    calls = {
        'sort_logits': (lambda: sort_logits(target, labels), 20),
        'SortLogits + KDLoss, forward and backward': (
            lambda: sort_and_kd(student, target, labels),
            150,
        ),
        'torch alone: log_softmax, kl_div, backward': (plain, None),
        'torch alone: a product and its backward': (
            lambda: torch.autograd.grad((student * 2).sum(), student),
            None,
        ),
        'torch alone: clone': (lambda: target.clone(), None),
    }
    rows = []
    for name, (call, wanted) in calls.items():
        taken = min(python_seconds(call) for _ in range(3)) * 1e6
        limit = f'≤ {wanted} µs' if wanted else '-'
        rows.append([name, f'{taken:.1f}', limit, verdict(taken <= wanted) if wanted else '-'])
    return rows


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--blocks', type=int, default=7, help='replays that are timed (7)')
    parser.add_argument('--half', action='store_true', help='float16 as well as float32')
    parser.add_argument('--out', help='write a Markdown record')
    return parser


def main() -> None:
    """Measure all cases."""
    args = get_parser().parse_args()
    tables = [
        Table(
            'Called from Python, 1024 × 81, 30% wrong',
            ['call', 'µs', 'target', 'result'],
            python_rows(),
        )
    ]
    tables[0].show()
    for dtype in (torch.float32, *((torch.float16,) if args.half else ())):
        rows = []
        for target in TARGETS:
            rows.append(measure(target, dtype, args.blocks))
            print(' | '.join(rows[-1]), flush=True)
            torch.cuda.empty_cache()
        tables.append(Table(f"Kernels' own time, {str(dtype)[6:]}", COLUMNS, rows))
    columns = ['values', 'kernels, µs', 'called, µs', 'torchsort, µs', 'share', 'target', 'result']
    tables.append(Table('Soft ranks, forward and backward', columns, rank_rows(args.blocks)))
    for table in tables[1:]:
        table.show()
    notes = [
        f'Median of {args.blocks} replays of a CUDA graph over inputs of {_ENOUGH >> 20} MiB; '
        f'Triton {installed("triton")}, CUDA {torch.version.cuda}.',
        'sort + KD: forward and backward, as in float32; scaled: of 1024 times the loss, as with '
        'mixed precision. The columns behind that: as in float32; the last three sort.',
    ]
    if args.out:
        write_record(args.out, 'Kernels on CUDA', tables, notes)


if __name__ == '__main__':
    main()
