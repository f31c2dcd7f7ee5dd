"""Run a paper's table: pairs × methods × seeds; print ours beside the published figures.

A preset of tools/compare.py, for classifiers: with the published figures, and an estimate of what
the runs cost.
"""

import argparse
from pathlib import Path

from sortkd_det.cli.arguments import add_matrix_arguments
from sortkd_det.cli.errors import run_tool

REPOSITORY = Path(__file__).resolve().parents[1]
# By config: the name in published tables, training images, side of an image.
DATASETS = {
    'cifar100': ('CIFAR-100', 50_000, 32),
    'tiny_imagenet': ('Tiny-ImageNet', 100_000, 64),
    'imagenet': ('ImageNet', 1_281_167, 224),
}
_METRIC = 'accuracy/top1'


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + 'What is finished is not run again: an interrupted table goes on.'
    )
    parser.add_argument('config', help='of the data set, e.g. configs/cifar100.py')
    parser.add_argument(
        '--methods', nargs='+', required=True, help='names, as for --method; student: it alone'
    )
    parser.add_argument('--work-dir', help='by default work_dirs/reproduce/<config>')
    parser.add_argument(
        '--baseline', nargs='+', default=['kd', 'sortdkd=dkd', 'dkd='], metavar='METHOD[=BASELINE]',
        help='the method that others are compared with, and exceptions: kd sortdkd=dkd',
    )  # fmt: skip
    parser.add_argument('--dry-run', action='store_true', help='list the runs and what they cost')
    parser.add_argument(
        '--num-images', type=int, help="training images, for the estimate; by default the set's"
    )
    add_matrix_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Plan, run, print."""
    from sortkd_det.cli.config import run_config
    from sortkd_det.cli.packages import uses_mmdet
    from sortkd_det.files import make_folder
    from sortkd_det.studies.comparison import compare, read_baselines, show
    from sortkd_det.studies.matrix import Matrix, method_path, part_of
    from sortkd_det.studies.reproduce import estimate, published, published_beside

    config = config_of(Path(args.config))
    if uses_mmdet(run_config(config, pair=args.pairs[0] if args.pairs else None)):
        raise ValueError(
            f"{config} is a detector's: tables of {_METRIC} are of classifiers; "
            'tools/compare.py --student takes detectors'
        )
    work_dir = Path(args.work_dir or REPOSITORY / 'work_dirs/reproduce' / config.stem)
    matrix = Matrix(
        config.resolve(), work_dir.resolve(), REPOSITORY, args.cfg_options, args.data_root,
        args.gpus, metric=_METRIC, share_teacher=args.share_teacher,
        submit=args.submit,
    )  # fmt: skip
    tasks = matrix.plan(args.pairs, [method_path(m) for m in args.methods], args.seeds)
    mine = part_of(tasks, args.part, args.share_teacher)
    make_folder(work_dir, '--work-dir')
    dataset, num_images, side = DATASETS.get(config.stem, (config.stem, 50_000, 32))
    num_images = num_images if args.num_images is None else args.num_images
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
    matrix.run(mine, args.jobs)
    titles = list(dict.fromkeys(task.title for task in tasks))
    _, rows = compare(matrix.scored(tasks), read_baselines(args.baseline, titles), _METRIC)
    figures = published(REPOSITORY / 'configs/published_top1.csv', dataset)
    title = 'test top-1 in %: mean ± standard deviation (seeds)'
    show(rows, title, 'pair', {'published': published_beside(tasks, figures)})
    print(f'wrote {matrix.save(tasks)}')


def config_of(path: Path) -> Path:
    """The config of a data set that is named as its folder of configs was once."""
    if path.is_dir():
        return path / 'student.py'
    return path if path.suffix else path.with_suffix('.py')


if __name__ == '__main__':
    run_tool(main, get_parser())
