"""The command line that the tools share."""

import argparse

from mmengine.config import DictAction


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every tool that runs a model takes, named as MMDetection names them."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and results')
    parser.add_argument('--data-root', help="folder of the data set, in place of the config's")
    parser.add_argument(
        '--pair', help="teacher and student, of the config's `pairs` (classification)"
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value, nested by dots; lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
