"""Time `sort_logits` against the published formulation: two full sorts and a scatter.

Each case is one matrix of logits of which a given share of the rows is wrong (the label is not at
the maximum); only those rows have to be sorted. Before anything is timed, all functions are checked
to give the same result to the bit.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from report import Table, installed, verdict, write_record
from timing import microseconds, time_alternating
from torch import Tensor

from sortkd_det.functional import check_labels, sort_logits
from sortkd_det.functional.sort import _sort_with_torch

_DEEPEST_NEAR_RANK = 5
_FRESH_INPUTS = 16


class Case(NamedTuple):
    """A matrix of logits.

    Attributes:
        num_rows: N.
        num_classes: C.
        wrong: share of the rows whose label is not at the maximum.
        target: how many times faster than published; None: no target.
        any_rank: wrong labels stand at any rank from 2 to C; otherwise at ranks 2 to 5.
    """

    num_rows: int
    num_classes: int
    wrong: float
    target: float | None
    any_rank: bool = False


TARGETS = (
    Case(64, 100, 0.25, 12),
    Case(1024, 81, 0.05, 80),
    Case(1024, 81, 0.30, 80),
    Case(512, 1000, 0.25, 20),
    Case(4096, 1000, 0.25, 150),
)
CASES = (
    *TARGETS,
    *(case._replace(any_rank=True, target=None) for case in TARGETS),
    *(
        Case(*shape, wrong, None)
        for shape in ((1024, 81), (512, 1000), (8192, 1000), (65536, 80))
        for wrong in (0.05, 0.30, 1.0)
    ),
)
# Around the size from which a second thread helps.
ON_THREADS = tuple(
    Case(*shape, 0.25, None, any_rank)
    for any_rank in (False, True)
    for shape in ((512, 1000), (1024, 1000), (2048, 1000), (4096, 1000), (8192, 81))
)

AS_MET = (*TARGETS, *(case._replace(any_rank=True, target=None) for case in TARGETS))


def sort_published(logits: Tensor, labels: Tensor) -> Tensor:
    """The published formulation, written with as few operations as it allows."""
    rows = torch.arange(len(logits), device=logits.device)
    lifted = logits.clone()
    lifted[rows, labels] += 1e9
    order = lifted.argsort(dim=1, descending=True)
    values = logits.sort(dim=1, descending=True).values
    return torch.empty_like(logits).scatter_(1, order, values)


def sort_without_numba(logits: Tensor, labels: Tensor) -> Tensor:
    """What `sort_logits` does where numba is missing, its checks of arguments included."""
    check_labels(logits, labels)
    return _sort_with_torch(logits, labels, None)


def copy(logits: Tensor, labels: Tensor) -> Tensor:
    """A copy of the same bytes: no function that returns a new tensor can be faster."""
    return logits.clone()


FUNCTIONS = (sort_published, sort_logits, sort_without_numba, copy)


def make_case(case: Case, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels; within a row the logits are normally distributed and all different."""
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.stack(
        [torch.randperm(case.num_classes, generator=generator) for _ in range(case.num_rows)]
    )
    quantiles = (ranks + 0.5) / case.num_classes
    logits = 2 * torch.special.ndtri(quantiles)
    logits += torch.randn(case.num_rows, 1, generator=generator)

    label_ranks = torch.zeros(case.num_rows, dtype=torch.int64)  # 0: at the maximum
    num_wrong = round(case.wrong * case.num_rows)
    end = case.num_classes if case.any_rank else _DEEPEST_NEAR_RANK
    wrong_rows = torch.randperm(case.num_rows, generator=generator)[:num_wrong]
    label_ranks[wrong_rows] = torch.randint(1, end, (num_wrong,), generator=generator)
    labels = ranks.argsort(dim=1, descending=True).gather(1, label_ranks[:, None]).squeeze(1)
    return logits, labels


def check_equal(logits: Tensor, labels: Tensor) -> None:
    """Raise unless the sorts agree to the bit.

    Raises:
        AssertionError: they differ, or equal logits in a row leave the order to chance.
    """
    in_order = logits.sort(dim=1).values
    if (in_order[:, 1:] == in_order[:, :-1]).any():
        raise AssertionError('a row holds equal logits: unstable sorts may differ')
    expected = sort_published(logits, labels)
    for function in (sort_logits, sort_without_numba):
        if not torch.equal(function(logits, labels), expected):
            raise AssertionError(f'{function.__name__} differs from the published formulation')


def measure(case: Case, repeats: int, blocks: int, device: str) -> list[str]:
    """Check and time a case; returns its row of the table."""
    logits, labels = (tensor.to(device) for tensor in make_case(case))
    check_equal(logits, labels)
    calls = [lambda function=function: function(logits, labels) for function in FUNCTIONS]
    repeats = repeats if logits.numel() < 2**22 else max(repeats // 4, 3)
    medians = time_alternating(calls, repeats, blocks, device)
    published, ours, with_torch, copied = (statistics.median(block) for block in medians)
    speedups = sorted(slow / fast for slow, fast in zip(*medians[:2], strict=True))
    return [
        f'{case.num_rows} × {case.num_classes}',
        f'{case.wrong:.0%}',
        'any' if case.any_rank else f'2–{_DEEPEST_NEAR_RANK}',
        microseconds(published),
        microseconds(ours),
        f'{published / ours:.1f}×',
        f'{speedups[0]:.1f}–{speedups[-1]:.1f}×',
        f'≥ {case.target:g}×' if case.target else '-',
        verdict(published / ours >= case.target) if case.target else '-',
        microseconds(with_torch),
        f'{published / with_torch:.1f}×',
        microseconds(copied),
        f'{ours / copied:.1f}×',
    ]


def other_work() -> Callable[[], object]:
    """What a training step does between two sorts: it fills caches and branch predictors anew."""
    image, weight = torch.randn(1, 64, 64, 64), torch.randn(64, 64, 3, 3)
    scores = torch.randn(2000, 4)

    def work() -> None:
        torch.relu(torch.nn.functional.conv2d(image, weight, padding=1)).sum()
        scores[scores[:, 0].argsort()].cumsum(0)

    return work


def measure_as_met(case: Case, repeats: int, blocks: int) -> list[str]:
    """The same case on one input again and again, on fresh inputs, and after other work."""
    inputs = [make_case(case, seed) for seed in range(_FRESH_INPUTS)]
    row = [f'{case.num_rows} × {case.num_classes}', f'{case.wrong:.0%}']
    row.append('any' if case.any_rank else f'2–{_DEEPEST_NEAR_RANK}')
    for fresh, between in ((False, None), (True, None), (True, other_work())):
        calls = []
        for function in (sort_published, sort_logits):
            turns = itertools.cycle(inputs if fresh else inputs[:1])
            calls.append(lambda function=function, turns=turns: function(*next(turns)))
        medians = time_alternating(calls, repeats, blocks, between=between)
        published, ours = (statistics.median(block) for block in medians)
        row += [microseconds(ours), f'{published / ours:.1f}×']
    return row


def measure_threads(case: Case, repeats: int, blocks: int) -> list[str]:
    """`sort_logits` on one thread and on several, on fresh inputs and after other work."""
    threads = torch.get_num_threads()
    inputs = [make_case(case, seed) for seed in range(_FRESH_INPUTS)]

    def call_on(number: int, turns: Iterator) -> None:
        torch.set_num_threads(number)
        sort_logits(*next(turns))
        torch.set_num_threads(threads)

    row = [f'{case.num_rows} × {case.num_classes}']
    row.append('any' if case.any_rank else f'2–{_DEEPEST_NEAR_RANK}')
    for between in (None, other_work()):
        calls = [partial(call_on, number, itertools.cycle(inputs)) for number in (1, threads)]
        medians = time_alternating(calls, repeats, blocks, between=between)
        one, several = (statistics.median(block) for block in medians)
        row += [microseconds(one), microseconds(several), f'{one / several:.2f}×']
    return row


COLUMNS_THREADS = (
    'logits',
    'rank',
    'fresh inputs, one thread, µs',
    'several, µs',
    'speed-up',
    'after other work, one thread, µs',
    'several, µs',
    'speed-up',
)

COLUMNS_AS_MET = (
    'logits',
    'wrong',
    'rank',
    'one input, µs',
    'speed-up',
    'fresh inputs, µs',
    'speed-up',
    'after other work, µs',
    'speed-up',
)
COLUMNS = (
    'logits',
    'wrong',
    'rank',
    'published, µs',
    'sort_logits, µs',
    'speed-up',
    'of blocks',
    'target',
    'result',
    'without numba, µs',
    'speed-up',
    'copy, µs',
    'sort ÷ copy',
)


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument(
        '--repeats', type=int, default=20, help='calls in a block, fewer of large ones (20)'
    )
    parser.add_argument('--blocks', type=int, default=7, help='blocks of each function (7)')
    parser.add_argument('--threads', type=int, default=2, help="torch's threads (2)")
    parser.add_argument('--out', help='write a Markdown record, e.g. benchmarks/results/sort.md')
    return parser


def main() -> None:
    """Measure all cases."""
    args = get_parser().parse_args()
    torch.set_num_threads(args.threads)
    rows = [measure(case, args.repeats, args.blocks, args.device) for case in CASES]
    title = f'sort_logits and the published formulation, {args.device}, float32'
    table = Table(title, COLUMNS, rows)
    table.show()
    tables = [table]
    if args.device == 'cpu':
        rows = [measure_as_met(case, args.repeats, args.blocks) for case in AS_MET]
        tables.append(Table('As a training step meets it', COLUMNS_AS_MET, rows))
        tables[1].show()
        if args.threads > 1:
            rows = [measure_threads(case, args.repeats, args.blocks) for case in ON_THREADS]
            title = f'One thread and {args.threads}, 25% wrong'
            tables.append(Table(title, COLUMNS_THREADS, rows))
            tables[2].show()
    notes = [
        f'Median of {args.blocks} alternating blocks, each the median of up to {args.repeats} '
        'calls; "of blocks": lowest and highest speed-up of a block. All functions gave equal '
        'results.',
        f'"As a training step meets it": {_FRESH_INPUTS} inputs in turn, and with a convolution, a '
        'sort of scores and a gather between two calls; one input again and again is what branch '
        'predictors learn.',
    ]
    if args.device == 'cpu' and installed('numba') == 'missing':
        notes.append('numba is missing: `sort_logits` takes the path without it.')
    if args.out:
        write_record(args.out, 'Sorting logits', tables, notes)


if __name__ == '__main__':
    main()
