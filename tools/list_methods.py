"""List what a method can be made of: processors, losses, adapters, hooks, one line each."""

import argparse

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the tables."""
    from sortkd_det.cli.registered import registered

    for title, lines in registered().items():
        print(f'\n{title}')
        width = max(len(name) for name in lines)
        for name, line in lines.items():
            print(f'  {name:{width}}  {line}')


if __name__ == '__main__':
    run_tool(main, get_parser())
