"""Look at a teacher on the training set, before training: whether sorting has anything to mend."""

import argparse
from pathlib import Path

from sortkd_det.cli.arguments import (
    add_common_arguments,
    add_report_arguments,
    add_teacher_arguments,
    default_work_dir,
    report_path,
)
from sortkd_det.cli.errors import run_tool

_EXAMPLE = """example:
  python tools/analyze_teacher.py configs/toy/gfl_student.py --teacher configs/toy/gfl_teacher.py \\
      --teacher-checkpoint work_dirs/demo/teacher/epoch_14.pth --work-dir work_dirs/analysis
"""


def get_parser() -> argparse.ArgumentParser:
    """The command line, as that of tools/train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    add_teacher_arguments(parser)
    parser.add_argument(
        '--images', type=int, default=500, help='of the training set that are looked at (500)'
    )
    parser.add_argument(
        '--rows-of',
        choices=('teacher', 'student'),
        default='teacher',
        help="whose proposals and assigned rows are read: the teacher's own, or those of the "
        "config's model, with --cfg-options load_from=PATH for weights (teacher)",
    )
    add_report_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Count, print, draw, write."""
    from sortkd_det.cli.config import load_config
    from sortkd_det.cli.launcher import is_main_process
    from sortkd_det.cli.runner import build_runner, prepare
    from sortkd_det.files import write_json
    from sortkd_det.studies.html import write_page
    from sortkd_det.studies.html.page import shown_path
    from sortkd_det.studies.html.teacher_page import teacher_page
    from sortkd_det.studies.teacher_loop import make_analysis
    from sortkd_det.studies.teacher_report import draw, show

    folder = work_dir_of(args)
    args.work_dir = str(folder)
    report = report_path(args.report, folder)
    # What distils is what is looked at; a config that distils already has its own teacher.
    args.method = 'sortkd' if args.teacher or args.pair else None
    cfg = load_config(args)
    make_analysis(cfg, args.images, args.rows_of, args.report_images)
    prepare(cfg, ('train_dataloader',))
    runner = build_runner(cfg)
    runner.train()
    if not is_main_process():
        return
    loop = runner.train_loop
    analysis, adapter = loop.analysis, loop.distill_hook.adapter
    show(analysis)
    written = [folder / 'teacher.json', *draw(analysis, folder)]
    write_json(
        written[0],
        dict(
            config=args.config,
            teacher=type(adapter.teacher.model).__name__,
            checkpoint=adapter.teacher.checkpoint,
            adapter=type(adapter).__name__,
            rows_of=args.rows_of,
            images=loop.images,
            **analysis.as_dict(),
        ),
    )
    checkpoint = adapter.teacher.checkpoint
    facts = {
        'config': shown_path(args.config),
        'teacher': type(adapter.teacher.model).__name__,
        'checkpoint': shown_path(checkpoint) if checkpoint else 'none',
        'rows of': args.rows_of,
        'images': loop.images,
    }
    page = teacher_page(analysis, loop.examples.found, facts)
    written.append(write_page(page, report))
    print(analysis.verdict())
    print(f'wrote {", ".join(map(str, written))}; log in {runner.log_dir}')


def work_dir_of(args: argparse.Namespace) -> Path:
    """By default a folder for each teacher or pair."""
    teacher = args.teacher or args.pair
    return Path(args.work_dir or default_work_dir('analyze_teacher', args.config, teacher))


if __name__ == '__main__':
    run_tool(main, get_parser())
