"""Time `soft_rank`, forward and backward, against torchsort's compiled extension.

torchsort ranks ascending, `soft_rank` descending, so that torchsort is given the negated values;
before anything is timed, values and gradients are checked to agree. It is in no requirement of the
package: `pip install --no-build-isolation torchsort` builds it (where `nvcc` is on the PATH but is
not wanted, take it off for that).
"""

import argparse
import statistics

import torch
import torchsort
from report import Table, installed, verdict, write_record
from timing import microseconds, time_alternating
from torch import Tensor

from sortkd_det.functional import soft_rank
from sortkd_det.functional.ranks import _rank_with_torch

# Rows, classes, and the largest share of torchsort's time that is allowed.
TARGETS = ((512, 1000, 0.6), (4096, 100, 0.6), (64, 100, 1.0), (1024, 81, None))
STRENGTHS = (1.0, 0.1)


def rank_torchsort(values: Tensor, strength: float) -> Tensor:
    """Soft ranks by torchsort, the largest value first."""
    return torchsort.soft_rank(-values, regularization_strength=strength)


FUNCTIONS = (rank_torchsort, soft_rank, _rank_with_torch)


def forward_backward(function, values: Tensor, strength: float, gradient: Tensor) -> Tensor:
    """One call with its gradient."""
    (result,) = torch.autograd.grad(function(values, strength), values, gradient)
    return result


def check_equal(values: Tensor, strength: float, gradient: Tensor) -> None:
    """Raise unless all functions give the same ranks and gradients, up to rounding.

    torchsort computes in float32 what is summed in float64 here, so the comparison is in float64.

    Raises:
        AssertionError: they differ.
    """
    values, gradient = values.detach().double().requires_grad_(), gradient.double()
    expected = rank_torchsort(values, strength)
    expected_gradient = forward_backward(rank_torchsort, values, strength, gradient)
    for function in FUNCTIONS[1:]:
        torch.testing.assert_close(function(values, strength), expected)
        torch.testing.assert_close(
            forward_backward(function, values, strength, gradient), expected_gradient
        )


def measure(
    num_rows: int, num_classes: int, target: float | None, strength: float, args: argparse.Namespace
) -> list[str]:
    """Check and time a case; returns its row of the table."""
    generator = torch.Generator().manual_seed(0)
    values = 2 * torch.randn(num_rows, num_classes, generator=generator)
    gradient = torch.randn(num_rows, num_classes, generator=generator).to(args.device)
    values = values.to(args.device).requires_grad_()
    check_equal(values, strength, gradient)
    calls = [
        lambda function=function: forward_backward(function, values, strength, gradient)
        for function in FUNCTIONS
    ]
    if args.device == 'cpu':
        calls.append(lambda: values.detach().sort(dim=1))
    blocks = time_alternating(calls, args.repeats, args.blocks, args.device)
    medians = [statistics.median(block) for block in blocks]
    shares = sorted(ours / theirs for theirs, ours in zip(*blocks[:2], strict=True))
    share = medians[1] / medians[0]
    target = target if strength == STRENGTHS[0] else None
    return [
        f'{num_rows} × {num_classes}',
        f'{strength:g}',
        microseconds(medians[0]),
        microseconds(medians[1]),
        f'{share:.2f}',
        f'{shares[0]:.2f}–{shares[-1]:.2f}',
        f'≤ {target:g}' if target else '-',
        verdict(share <= target) if target else '-',
        microseconds(medians[2]),
        microseconds(medians[3]) if args.device == 'cpu' else '-',
    ]


COLUMNS = (
    'values',
    'ε',
    'torchsort, µs',
    'soft_rank, µs',
    'share of its time',
    'of blocks',
    'target',
    'result',
    'without kernel, µs',
    'torch.sort alone, µs',
)


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--repeats', type=int, default=20, help='calls in a block (20)')
    parser.add_argument('--blocks', type=int, default=7, help='blocks of each function (7)')
    parser.add_argument('--threads', type=int, default=2, help="torch's threads (2)")
    parser.add_argument(
        '--out', help='write a Markdown record, e.g. benchmarks/results/soft_rank.md'
    )
    return parser


def main() -> None:
    """Measure all cases."""
    args = get_parser().parse_args()
    torch.set_num_threads(args.threads)
    rows = [measure(*case, strength, args) for strength in STRENGTHS for case in TARGETS]
    title = f'soft_rank and torchsort {installed("torchsort")}, {args.device}, float32'
    table = Table(title, COLUMNS, rows)
    table.show()
    notes = [
        f'Forward and backward. Median of {args.blocks} alternating blocks, each the median of '
        f'{args.repeats} calls; "of blocks": lowest and highest share of a block. Ranks and '
        'gradients agree.',
    ]
    if args.out:
        write_record(args.out, 'Soft ranks', [table], notes)


if __name__ == '__main__':
    main()
