"""Compare methods seed by seed: did it help, where, and is it more than chance."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sortkd_det.cli.arguments import (
    add_matrix_arguments,
    add_report_arguments,
    default_work_dir,
    report_path,
    writable_file,
)
from sortkd_det.cli.errors import run_tool

if TYPE_CHECKING:
    from sortkd_det.studies.matrix import Matrix, Task

REPOSITORY = Path(__file__).resolve().parents[1]


_EXAMPLE = """example:
  python tools/compare.py student=work_dirs/student_{seed} kd=work_dirs/kd_{seed} \\
      sortkd=work_dirs/sortkd_{seed} --baseline student sortkd=kd --report work_dirs/report.html
"""


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'runs', nargs='*', metavar='NAME=PATH',
        help='finished runs, or files of detections (.bbox.json): kd=work_dirs/kd_{seed}, where '
        '{seed} stands for any number; or a folder of <method>/seed_<n>',
    )  # fmt: skip
    parser.add_argument('--metric', help='as it was logged, e.g. coco/bbox_mAP_50')
    parser.add_argument(
        '--baseline', nargs='+', metavar='METHOD[=BASELINE]',
        help='the method that others are compared with, by default the first, and exceptions: '
        'kd sortdkd=dkd',
    )  # fmt: skip
    parser.add_argument(
        '--annotations', type=Path, help='COCO file that detections are evaluated on'
    )
    parser.add_argument(
        '--draws', type=int, default=1000, help='of images, for the interval over them; 0: none'
    )
    parser.add_argument('--out', type=Path, help='write all numbers to this file (.json)')
    add_report_arguments(parser)
    parser.add_argument(
        '--image-root', type=Path, help="folder of the report's images, in place of the config's"
    )
    matrix = parser.add_argument_group('to run a matrix, in place of finished runs')
    matrix.add_argument('--student', help="config of the student, or MMDetection's own: mmdet::…")
    matrix.add_argument('--teacher', help="the teacher's config, as for tools/train.py")
    matrix.add_argument('--teacher-checkpoint', help="the teacher's weights")
    matrix.add_argument('--methods', nargs='+', help='as for --method; student: it alone')
    matrix.add_argument(
        '--variant', nargs='+', action='append', metavar=('NAME', 'key=value'), default=[],
        help='settings to run all methods with, under a name; may be given several times',
    )  # fmt: skip
    matrix.add_argument('--work-dir', help='by default work_dirs/compare/<config>')
    matrix.add_argument(
        '--dry-run', action='store_true', help='list the runs, their commands and time'
    )
    add_matrix_arguments(matrix)
    return parser


def main(args: argparse.Namespace) -> None:
    """Run or read, compare, print."""
    from sortkd_det.functional import check_whole
    from sortkd_det.studies.comparison import COCO_METRICS, compare, read_baselines, save, show
    from sortkd_det.studies.finished import DETECTIONS, read_finished

    check_whole('--draws', args.draws, minimum=0)
    if args.draws == 1:
        raise ValueError('--draws 1 has no interval: give some hundreds, or 0 for none')
    check_whole('--report-images', args.report_images, minimum=0)
    if bool(args.runs) == bool(args.student):
        raise ValueError('give either finished runs as NAME=PATH, or --student CONFIG to run some')
    if args.annotations and not args.annotations.is_file():
        raise FileNotFoundError(f'--annotations: there is no file {args.annotations}')
    report = None
    if not args.dry_run:
        report = report_path(args.report, work_dir_of(args) if args.student else None)
        if args.out:
            writable_file(args.out, '--out', 'compare.json')
    if args.student:
        runs, scored_on = run_matrix(args), 'test'
        if args.dry_run or not runs:
            return
    else:
        runs, scored_on = read_finished(args.runs)
    methods = list(dict.fromkeys(run.method for run in runs))
    baselines = read_baselines(args.baseline or methods[:1], methods)
    metric, rows = compare(runs, baselines, args.metric, args.draws, args.annotations)
    title = f'{metric} of the {scored_on} in points of 100: mean ± standard deviation (seeds)'
    show(rows, title, 'variant')
    if args.draws and metric in COCO_METRICS and any(run.detections is None for run in runs):
        print(
            f'no interval over images: it takes {DETECTIONS} in each work dir, or .bbox.json files'
        )
    if args.out:
        save(args.out, metric, rows, dict(scored_on=scored_on, draws=args.draws))
        print(f'wrote {args.out}')
    if report:
        from sortkd_det.studies.html import write_page
        from sortkd_det.studies.html.comparison_page import comparison_page

        page = comparison_page(
            metric, rows, runs, scored_on, args.report_images, args.image_root, args.annotations
        )
        print(f'wrote {write_page(page, report)}')


def work_dir_of(args: argparse.Namespace) -> Path:
    """The folder of a matrix."""
    return Path(args.work_dir or default_work_dir('compare', args.student)).resolve()


def run_matrix(args: argparse.Namespace) -> list:
    """Run what is left of a matrix, and return all that is there; or say what would be run."""
    from sortkd_det.files import make_folder
    from sortkd_det.studies.matrix import Matrix, method_path, part_of

    if not args.methods:
        raise ValueError('--student needs --methods, such as: student kd sortkd')
    variants = {name: options for name, *options in args.variant}
    if len(variants) < len(args.variant):
        raise ValueError('--variant must differ in their names')
    if any(not re.fullmatch(r'[\w.-]+', name) for name in variants):
        raise ValueError('--variant NAME key=value: a name has letters, digits, "_", "." and "-"')
    work_dir = work_dir_of(args)
    is_file = '::' not in args.student
    matrix = Matrix(
        Path(args.student).resolve() if is_file else args.student,
        work_dir,
        REPOSITORY,
        args.cfg_options,
        args.data_root,
        args.gpus,
        args.teacher,
        args.teacher_checkpoint,
        variants,
        args.metric,
        args.share_teacher,
        args.submit,
    )
    tasks = matrix.plan(args.pairs, [method_path(m) for m in args.methods], args.seeds)
    mine = part_of(tasks, args.part, args.share_teacher)
    if not args.dry_run:
        make_folder(work_dir, '--work-dir')
        matrix.run(mine, args.jobs)
        print(f'wrote {matrix.save(tasks)}')
        return matrix.scored(tasks)
    show_plan(matrix, list({task.name: task for task in mine}.values()), args.jobs)
    return []


def show_plan(matrix: 'Matrix', tasks: Sequence['Task'], jobs: int) -> None:
    """Print what would be run, by which commands, and how long it would take."""
    import shlex

    from sortkd_det.studies.progress import format_duration

    left = [task for task in tasks if matrix.result(task) is None]
    for task in tasks:
        command = shlex.join([*matrix.submit, *matrix.command('train', task)])
        print(f'{task.name}: {command if task in left else "done"}')
    total, lacking = 0.0, ''
    for kind, seconds in matrix.seconds(tasks).items():
        number = sum(task.kind == kind for task in left)
        name = '/'.join(filter(None, kind))
        if isinstance(seconds, str):
            print(f'{name}: {number} left, no estimate: {seconds}')
            lacking = ' for those with an estimate'
        elif number:
            print(f'{name}: {number} left, about {format_duration(seconds)} each')
            total += number * seconds
    time = f'about {format_duration(total / jobs)}{lacking}, {jobs} at once'
    print(f'{len(tasks)} runs, {len(left)} are left' + (f', {time}' if left else ''))


if __name__ == '__main__':
    run_tool(main, get_parser())
