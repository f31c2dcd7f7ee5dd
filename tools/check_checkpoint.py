"""Say what is in a checkpoint, whether it is safe to load, and whether it fits a model."""

import argparse

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file', help='checkpoint: a path, or an http(s) address')
    parser.add_argument('--config', help='of the model that it is for: a file, or mmdet::NAME')
    parser.add_argument(
        '--pair', help="teacher and student of the config's table, whose student the model is"
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Print what the file holds and, with a config, how it fits; an error if it does not."""
    from terminaltables import AsciiTable

    from sortkd_det.cli.checkpoint_report import CheckpointReport

    report = CheckpointReport(args.file, args.config, args.pair)
    table = AsciiTable(list(report.rows.items()), report.path)
    table.inner_heading_row_border = False
    print(table.table)
    report.refuse_misfit()
    if args.config:
        print('it fits')


if __name__ == '__main__':
    run_tool(main, get_parser())
