"""Run a paper's table: pairs × methods × seeds; print ours beside the published figures."""

import argparse
import re
from pathlib import Path

from sortkd_det.cli.errors import run_tool

REPOSITORY = Path(__file__).resolve().parents[1]
# By config: the name in published tables, training images, side of an image.
DATASETS = {
    'cifar100': ('CIFAR-100', 50_000, 32),
    'tiny_imagenet': ('Tiny-ImageNet', 100_000, 64),
    'imagenet': ('ImageNet', 1_281_167, 224),
}


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' What is finished is not run again: an interrupted table goes on.'
    )
    parser.add_argument('config', help='of the data set, e.g. configs/cifar100.py')
    parser.add_argument('--pairs', nargs='+', default=[], help="names in the config's table")
    parser.add_argument(
        '--methods', nargs='+', required=True, help='names, as for --method; student: it alone'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--work-dir', help='by default work_dirs/reproduce/<config>')
    parser.add_argument('--data-root', help="folder of the data set, in place of the config's")
    parser.add_argument(
        '--baseline', nargs='+', default=['kd', 'sortdkd=dkd', 'dkd='], metavar='METHOD[=BASELINE]',
        help='the method that others are compared with, and exceptions: kd sortdkd=dkd',
    )  # fmt: skip
    parser.add_argument('--jobs', type=int, default=1, help='runs at once, each on its own GPU')
    parser.add_argument('--gpus', type=int, default=1, help='GPUs (processes) of one run')
    parser.add_argument(
        '--part', default='1/1', help='2/4: the second quarter of the runs, for one of 4 machines'
    )
    parser.add_argument('--dry-run', action='store_true', help='list the runs and what they cost')
    parser.add_argument(
        '--num-images', type=int, help="training images, for the estimate; by default the set's"
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help='key=value for every run')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Plan, run, print."""
    from sortkd_det.files import make_folder
    from sortkd_det.studies.reproduce import Reproduction, estimate, plan, published, show

    config = config_of(Path(args.config))
    methods = [str(Path(m).resolve()) if m.endswith('.py') else m for m in args.methods]
    tasks = plan(config, args.pairs, methods, args.seeds)
    part = re.fullmatch(r'(\d+)/(\d+)', args.part)
    index, number = (int(value) for value in part.groups()) if part else (0, 0)
    if not 1 <= index <= number:
        raise ValueError(f'--part must be i/n with 1 ≤ i ≤ n, got {args.part}')
    work_dir = Path(args.work_dir or REPOSITORY / 'work_dirs/reproduce' / config.stem)
    make_folder(work_dir, '--work-dir')
    reproduction = Reproduction(
        config.resolve(), work_dir.resolve(), REPOSITORY, args.cfg_options, args.data_root,
        args.gpus,
    )  # fmt: skip
    mine = tasks[index - 1 :: number]
    dataset, num_images, side = DATASETS.get(config.stem, (config.stem, 50_000, 32))
    num_images = num_images if args.num_images is None else args.num_images
    if args.dry_run:
        costs: dict[tuple, float] = {}
        for task in mine:
            done = reproduction.result(task) is not None
            key = (task.pair, task.method)
            if key not in costs:
                costs[key] = estimate(config, task, num_images, side)
            print(f'{task.name:50} {"done" if done else f"about {costs[key] / 60:.0f} min"}')
        left = sum(costs[t.pair, t.method] for t in mine if reproduction.result(t) is None)
        print(f'{len(mine)} runs; about {left / 3600:.1f} h are left, one at a time, here')
        return
    reproduction.run(mine, args.jobs)
    default, exceptions = None, {}
    for entry in args.baseline:
        method, given, baseline = entry.partition('=')
        if given:
            exceptions[method] = baseline
        else:
            default = method
    baselines = {m: exceptions.get(m, default) for m in methods if m != default}
    figures = published(REPOSITORY / 'configs/published_top1.csv', dataset)
    show(reproduction, args.pairs, methods, args.seeds, figures, baselines)
    print(f'wrote {reproduction.save(tasks)}')


def config_of(path: Path) -> Path:
    """The config of a data set that is named as its folder of configs was once."""
    if path.is_dir():
        return path / 'student.py'
    return path if path.suffix else path.with_suffix('.py')


if __name__ == '__main__':
    run_tool(main, get_parser())
