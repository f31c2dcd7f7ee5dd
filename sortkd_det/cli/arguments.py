"""The options that tools share. Nothing heavy is imported before a command line is read."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sortkd_det.files import make_folder


class CfgOptions(argparse.Action):
    """MMEngine's ``DictAction``, which brings torch along: imported when there are options."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Turn ``key=value`` into an entry of a dict; raise ValueError for what is none."""
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        try:
            action(parser, namespace, values, option_string)
        except RecursionError as error:  # how it meets a bracket that is no list's
            raise ValueError(
                f'{" ".join(values)}: brackets may only hold lists; a setting within a dict is '
                'reached by dots, as in method.0.processors.0.sort_columns=classes'
            ) from error


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool that runs a model takes, named as MMDetection names it."""
    parser.add_argument('config', help="config file of a student, or MMDetection's own: mmdet::…")
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and results')
    parser.add_argument('--data-root', help="folder of the data set, in place of the config's")
    parser.add_argument(
        '--pair',
        help='teacher and student of the data set, with their settings: resnet32x4-resnet8x4 '
        '(classification)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
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


def add_teacher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two flags that name a teacher."""
    parser.add_argument(
        '--teacher',
        help="the teacher's config: a file, mmdet::… or the name of a classifier (resnet32x4)",
    )
    parser.add_argument(
        '--teacher-checkpoint', help="the teacher's weights, in place of the config's or the zoo's"
    )


def add_distillation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three flags that make a plain student's run a distillation."""
    add_teacher_arguments(parser)
    parser.add_argument(
        '--method',
        help='sortkd, kd, … (configs/_base_/methods/), or a file of your own with method = […]; '
        '--cfg-options method.0.loss.temperature=2 sets what is in it, and student_weight=…, '
        'teacher.…=…, check_teacher=…, audit.interval=… what is beside it',
    )


def default_work_dir(tool: str, *names: str | Path | None) -> Path:
    """``work_dirs/TOOL/CONFIG``, of a tool that trains nothing or many.

    Like that of a training it is under the current folder.

    Args:
        tool: its name.
        names: config files, and names of what a folder of its own is for; None: left out.
    """
    return Path('work_dirs', tool, *[Path(name).stem for name in names if name])


def add_report_arguments(parser: argparse._ActionsContainer, has_images: bool = True) -> None:
    """Add what tools take that write a page for the browser, with images on it or without."""
    parser.add_argument(
        '--report',
        type=Path,
        metavar='FILE.html',
        help='write a page for the browser to this file; where there is a work dir it is by '
        'default report.html there',
    )
    if not has_images:
        return
    parser.add_argument(
        '--report-images', type=int, default=24, help='pictures in the page at most (24)'
    )


def report_path(given: Path | None, work_dir: Path | None) -> Path | None:
    """Where the page is written: as ``--report`` says, else in the work dir; None: nowhere.

    Raises:
        OSError: it cannot be written there, known before the work is done.
    """
    if given is None:
        return work_dir and work_dir / 'report.html'
    return writable_file(given, '--report', 'report.html')


def writable_file(path: Path, option: str, example: str) -> Path:
    """The path of a file that is to be written, whose folder is made.

    Raises:
        OSError: it cannot be written; the message names ``option``, which gave it.
    """
    make_folder(path.parent, option)
    if path.is_dir():
        raise IsADirectoryError(f'{option}: {path} is a folder; name a file, such as {example}')
    return path


def add_matrix_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what tools take that run pairs × methods × seeds."""
    parser.add_argument('--pairs', nargs='+', default=[], help="names in the config's table")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--data-root', help="folder of the data set, in place of the config's")
    parser.add_argument('--jobs', type=int, default=1, help='runs at once, each on its own GPU')
    parser.add_argument('--gpus', type=int, default=1, help='GPUs (processes) of one run')
    parser.add_argument(
        '--part', default='1/1', help='2/4: the second quarter of the runs, for one of 4 machines'
    )
    parser.add_argument(
        '--submit', default='', metavar='COMMAND',
        help="has a cluster run each command that follows it, and waits: 'srun --gres=gpu:1'; "
        '--jobs says how many wait there at once',
    )  # fmt: skip
    parser.add_argument(
        '--share-teacher',
        action='store_true',
        help="run a classifier's teacher once for all methods of a seed; the results are the same",
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help='key=value for every run')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
