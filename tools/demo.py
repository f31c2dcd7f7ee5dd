"""The demo: train a teacher, a student alone, with KD and with SortKD on a toy set; compare."""

import argparse
from pathlib import Path

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' What was finished is not done again: an interrupted demo goes on.'
    )
    parser.add_argument(
        '--work-dir', default='work_dirs/demo', help='folder of results, figures and checkpoints'
    )
    parser.add_argument(
        '--data-root', default='data/toy_coco', help='folder of the toy set; drawn if absent'
    )
    parser.add_argument('--teacher-epochs', type=int, help="in place of the config's")
    parser.add_argument('--student-epochs', type=int, help="in place of the configs'")
    parser.add_argument('--num-train', type=int, help='training images of the toy set')
    parser.add_argument('--num-val', type=int, help='validation images of the toy set')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Run the demo."""
    from sortkd_det.files import make_folder
    from sortkd_det.studies.demo.steps import Demo, DemoOptions

    options = DemoOptions(
        repository=Path(__file__).resolve().parents[1],
        work_dir=Path(args.work_dir),
        data_root=Path(args.data_root),
        teacher_epochs=args.teacher_epochs,
        student_epochs=args.student_epochs,
        num_train=args.num_train,
        num_val=args.num_val,
    )
    make_folder(args.work_dir, '--work-dir')
    Demo(options).run()


if __name__ == '__main__':
    run_tool(main, get_parser())
