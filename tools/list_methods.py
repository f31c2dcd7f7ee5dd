"""List the methods, and what one can be made of: processors, losses, adapters, hooks."""

import argparse
from pathlib import Path

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--write', action='store_true', help='bring the lists in README.md and docs/ up to date'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the tables, or write those of the documents."""
    from sortkd_det.cli.method_tables import documents, method_rows
    from sortkd_det.cli.registered import registered

    if args.write:
        for path, text in documents(Path(__file__).resolve().parents[1]).items():
            path.write_text(text, encoding='utf-8')
            print(f'wrote {path}')
        return
    tables = {'Methods': {row.name: row.about for row in method_rows()}, **registered()}
    for title, lines in tables.items():
        print(f'\n{title}')
        width = max(len(name) for name in lines)
        for name, line in lines.items():
            print(f'  {name:{width}}  {line}')


if __name__ == '__main__':
    run_tool(main, get_parser())
