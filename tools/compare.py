"""Compare methods seed by seed: did it help, where, and is it more than chance."""

import argparse
from pathlib import Path

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs', nargs='+', metavar='NAME=PATH',
        help='finished runs, or files of detections (.bbox.json): kd=work_dirs/kd_{seed}, where '
        '{seed} stands for any number; or a folder of <method>/seed_<n>',
    )  # fmt: skip
    parser.add_argument(
        '--baseline', nargs='+', metavar='METHOD[=BASELINE]',
        help='the method that others are compared with, by default the first, and exceptions: '
        'kd sortdkd=dkd',
    )  # fmt: skip
    parser.add_argument('--metric', help='as it was logged, e.g. coco/bbox_mAP_50')
    parser.add_argument(
        '--annotations', type=Path, help='COCO file that detections are evaluated on'
    )
    parser.add_argument(
        '--draws', type=int, default=1000, help='of images, for the interval over them; 0: none'
    )
    parser.add_argument('--out', type=Path, help='write all numbers to this file (.json)')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Read, compare, print."""
    from sortkd_det.functional import check_whole
    from sortkd_det.studies.comparison import COCO_AP, compare, read_baselines, save, show
    from sortkd_det.studies.finished import DETECTIONS, read_finished

    check_whole('--draws', args.draws, minimum=0)
    runs, scored_on = read_finished(args.runs)
    methods = list(dict.fromkeys(run.method for run in runs))
    baselines = read_baselines(args.baseline or methods[:1], methods)
    metric, rows = compare(runs, baselines, args.metric, args.draws, args.annotations)
    show(rows, f'{metric} of the {scored_on} in points of 100: mean ± standard deviation (seeds)')
    for row in rows:
        print(*row.verdicts(), sep='\n')
    if args.draws and metric == COCO_AP and not any(row.over_images for row in rows):
        print(
            f'no interval over images: it takes {DETECTIONS} in each work dir, or .bbox.json files'
        )
    if args.out:
        save(args.out, metric, rows, dict(scored_on=scored_on, draws=args.draws))
        print(f'wrote {args.out}')


if __name__ == '__main__':
    run_tool(main, get_parser())
