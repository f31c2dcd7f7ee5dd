"""How a tool ends: with its work done, or with one line that says what to do.

What is heavy is imported where it is needed, so that a command line is answered at once.
"""

import argparse
import contextlib
import logging
import os
import re
import select
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_FORMAT_WARNING = warnings.formatwarning
# What a user can mend. Others are mistakes of the program, which a traceback serves better.
_MENDABLE = (
    ArithmeticError,
    AssertionError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def run_tool(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line and run ``main``; an error a user can mend is one line, exit 1."""
    try:
        args = parser.parse_args()
    except (AssertionError, ValueError) as error:  # MMEngine's DictAction
        parser.error(f'--cfg-options takes key=value, lists as key="[a,b]" ({error})')
    warnings.formatwarning = _format_warning
    try:
        with _process_group_left_in_order():
            main(args)
    except KeyboardInterrupt as interrupt:
        print(f'\n{str(interrupt) or "interrupted"}', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_output_closed():
            sys.exit(1)
        # OpenCV's own, of an image that it refuses, is not imported for this.
        if not isinstance(error, _MENDABLE) and type(error).__module__ != 'cv2':
            raise
        message = _explain(error)
        if args.debug or ' ' not in message:  # a bare key is no explanation
            raise
        log = _log_traceback(error)
        place = f'the traceback is in {log}' if log else '--debug shows the traceback'
        print(f'\nerror: {message} ({place})', file=sys.stderr)
        sys.exit(1)


def _is_output_closed() -> bool:
    """Whether nobody reads the output any more: ``tool | head``.

    Other pipes, to workers, may break too. What is still to be written goes nowhere then, or
    Python would complain of it at its exit.
    """
    output = 1
    poll = select.poll()
    poll.register(output, 0)  # errors are always reported
    is_closed = any(event & select.POLLERR for _, event in poll.poll(0))
    if is_closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return is_closed


def _format_warning(
    message: Warning | str, category: type[Warning], *place: Any, **kwargs: Any
) -> str:
    """A warning for users as one line; others are for those who know the line of code."""
    if category is UserWarning:
        return f'warning: {message}\n'
    return _FORMAT_WARNING(message, category, *place, **kwargs)


@contextlib.contextmanager
def _process_group_left_in_order() -> Iterator[None]:
    """Close the group of processes where all of them get here, at the end or told to stop.

    After an error the others may still wait for this one, and closing (NCCL's waits for
    them) would keep the launcher from seeing that it died; so there it is left to exit.
    """
    together = False
    try:
        yield
        together = True
    except SystemExit as stopped:
        from sortkd_det.hooks import EXIT_STOPPED

        together = stopped.code == EXIT_STOPPED
        raise
    finally:
        if 'torch' in sys.modules:  # or no group was ever opened
            group = sys.modules['torch'].distributed
            if group.is_available() and group.is_initialized():
                from .launcher import wait_for_gloo

                wait_for_gloo()
                if together or group.get_world_size() == 1:
                    group.destroy_process_group()


def _log_traceback(error: Exception) -> str | None:
    """Keep a traceback that may have taken days to come up; the path of the log, or None."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    details = (type(error), error, error.__traceback__)
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, 'this ended the run', (), details
    )
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
            return min(handler.baseFilename, os.path.relpath(handler.baseFilename), key=len)
    return None


def _explain(error: Exception) -> str:
    """What to tell a user of an error: without a worker's traceback, with names that exist."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    message = re.sub(r'<(?:\w+\.)*(\w+) object at 0x[0-9a-fA-F]+>', r'\1', message)
    if 'Original Traceback' in message:  # from a worker of a data loader
        message = message.splitlines()[-1]
    unknown = re.search(r'(\S+) is not in the (?:\S+::)?(.+?) registry', message)
    if unknown is None:
        return message
    from sortkd_det.registry import find_similar

    name, kind = unknown.groups()
    similar = find_similar(kind, name)
    return f'{message[: unknown.start()]}unknown {kind} {name!r}; ' + (
        f'is one of these meant: {", ".join(similar)}?'
        if similar
        else 'tools/list_methods.py lists those of this package, and a module of your own is to be '
        'named in custom_imports'
    )
