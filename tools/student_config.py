"""Print the plain student's config: what stock MMDetection needs to test or deploy it."""

import argparse
from pathlib import Path

from sortkd_det.cli.arguments import add_common_arguments, add_distillation_arguments
from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    add_distillation_arguments(parser)
    parser.add_argument('--out', help='write it to this file instead')
    return parser


def main(args: argparse.Namespace) -> None:
    """Print or write the config."""
    from sortkd_det.cli.config import load_config
    from sortkd_det.cli.distillation import student_config
    from sortkd_det.files import make_folder

    cfg = load_config(args)
    if not args.work_dir:
        cfg.pop('work_dir')
    cfg.pop('launcher')
    text = student_config(cfg).pretty_text
    if args.out:
        make_folder(Path(args.out).parent, '--out')
        Path(args.out).write_text(text)
        print(f'wrote {args.out}')
    else:
        print(text)


if __name__ == '__main__':
    run_tool(main, get_parser())
