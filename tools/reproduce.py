"""Run a paper's table: pairs × methods × seeds; print ours beside the published figures.

A preset of tools/compare.py, for classifiers: with the published figures, and an estimate of what
the runs cost. What is finished is not run again: an interrupted table goes on.
"""

import argparse
from pathlib import Path

from sortkd_det.cli.arguments import (
    add_matrix_arguments,
    add_report_arguments,
    default_work_dir,
    report_path,
)
from sortkd_det.cli.errors import run_tool

REPOSITORY = Path(__file__).resolve().parents[1]
# By config: the name in published tables, training images, side of an image.
DATASETS = {
    'cifar100': ('CIFAR-100', 50_000, 32),
    'tiny_imagenet': ('Tiny-ImageNet', 100_000, 64),
    'imagenet': ('ImageNet', 1_281_167, 224),
}
_METRIC = 'accuracy/top1'
_BASELINES = ['kd', 'sortdkd=dkd', 'dkd=']
_EXAMPLE = """example:
  python tools/reproduce.py configs/cifar100.py --pairs resnet32x4-resnet8x4 \\
      --methods student kd sortkd --seeds 0 1 2 --work-dir work_dirs/table
"""


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='of the data set, e.g. configs/cifar100.py')
    parser.add_argument(
        '--methods', nargs='+', required=True, help='names, as for --method; student: it alone'
    )
    parser.add_argument('--work-dir', help='by default work_dirs/reproduce/<config>')
    parser.add_argument(
        '--baseline', nargs='+', metavar='METHOD[=BASELINE]',
        help='the method that others are compared with, and exceptions; by default, where they '
        f'are among the methods: {" ".join(_BASELINES)}',
    )  # fmt: skip
    parser.add_argument('--dry-run', action='store_true', help='list the runs and what they cost')
    parser.add_argument(
        '--images', type=int, help="of the training set, for the estimate; by default the set's"
    )
    parser.add_argument('--num-images', dest='images', type=int, help=argparse.SUPPRESS)  # formerly
    add_report_arguments(parser, has_images=False)
    add_matrix_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Plan, run, print."""
    from sortkd_det.cli.config import run_config
    from sortkd_det.cli.packages import uses_mmdet
    from sortkd_det.files import make_folder
    from sortkd_det.studies.comparison import compare, read_baselines, show
    from sortkd_det.studies.html import write_page
    from sortkd_det.studies.html.comparison_page import comparison_page
    from sortkd_det.studies.matrix import Matrix, method_path, part_of
    from sortkd_det.studies.reproduce import estimate, published, published_beside

    config = config_of(Path(args.config))
    if uses_mmdet(run_config(config, pair=args.pairs[0] if args.pairs else None)):
        raise ValueError(
            f"{config} is a detector's: tables of {_METRIC} are of classifiers; "
            'tools/compare.py --student takes detectors'
        )
    work_dir = Path(args.work_dir or default_work_dir('reproduce', config))
    matrix = Matrix(
        config.resolve(), work_dir.resolve(), REPOSITORY, args.cfg_options, args.data_root,
        args.gpus, metric=_METRIC, share_teacher=args.share_teacher,
        submit=args.submit,
    )  # fmt: skip
    tasks = matrix.plan(args.pairs, [method_path(m) for m in args.methods], args.seeds)
    titles = list(dict.fromkeys(task.title for task in tasks))
    preset = [each for each in _BASELINES if {*each.split('=')} <= {'', *titles}]
    baselines = read_baselines(args.baseline or preset, titles)
    mine = part_of(tasks, args.part, args.share_teacher)
    dataset, num_images, side = DATASETS.get(config.stem, (config.stem, 50_000, 32))
    num_images = num_images if args.images is None else args.images
    if args.dry_run:
        costs: dict[tuple, float] = {}
        for task in mine:
            done = matrix.result(task) is not None
            key = (task.pair, task.method)
            if key not in costs:
                costs[key] = estimate(matrix, task, num_images, side)
            print(f'{task.name:50} {"done" if done else f"about {costs[key] / 60:.0f} min"}')
        left = sum(costs[t.pair, t.method] for t in mine if matrix.result(t) is None)
        print(f'{len(mine)} runs; about {left / 3600:.1f} h are left, one at a time, here')
        return
    report = report_path(args.report, work_dir)
    make_folder(work_dir, '--work-dir')
    matrix.run(mine, args.jobs)
    runs = matrix.scored(tasks)
    _, rows = compare(runs, baselines, _METRIC)
    figures = published(REPOSITORY / 'configs/published_top1.csv', dataset)
    title = 'test top-1 in %: mean ± standard deviation (seeds)'
    beside = {'published': published_beside(tasks, figures)}
    show(rows, title, 'pair', beside)
    page = comparison_page(_METRIC, rows, runs, 'test', group='pair', beside=beside)
    print(f'wrote {matrix.save(tasks)}, {write_page(page, report)}')


def config_of(path: Path) -> Path:
    """The config of a data set that is named as its folder of configs was once."""
    if path.is_dir():
        return path / 'student.py'
    return path if path.suffix else path.with_suffix('.py')


if __name__ == '__main__':
    run_tool(main, get_parser())
