"""Kill training runs at random moments, resume them, and count those that end as if undisturbed."""

import argparse
import sys
from pathlib import Path

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file; a run of a minute or less is best')
    parser.add_argument('--runs', type=int, default=20, help='runs that are killed (20)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    parser.add_argument('--work-dir', default='work_dirs/soak', help='is emptied first')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    parser.add_argument(
        '--options',
        nargs=argparse.REMAINDER,
        default=[],
        help='the rest of the line goes to tools/train.py',
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Kill, resume, compare."""
    from rich.console import Console

    from sortkd_det.studies.soak import Soak, summary

    repository = Path(__file__).resolve().parents[1]
    soak = Soak(repository, [args.config, *args.options], Path(args.work_dir), args.seed)
    trials = soak.run(args.runs)
    Console().print(summary(trials))
    if not all(trial.identical for trial in trials):
        sys.exit(1)


if __name__ == '__main__':
    run_tool(main, get_parser())
