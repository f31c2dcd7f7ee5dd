"""Commands of a matrix: run here, or handed to a cluster by words that wait for their end."""

import contextlib
import errno
import fcntl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# What is run elsewhere: the command, and a note of how it ended.
_NOTED = 'file=$1; shift; "$@"; status=$?; echo $status > "$file"; exit $status'
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # the last where locks are a server's
_PATIENCE = 90.0  # seconds until a file that another machine wrote is seen on a shared disk


class Commands:
    """Commands that several threads run, which one of them may stop all at once."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._is_stopped = False
        self._lock = threading.Lock()

    def call(self, command: Sequence[str], **options: Any) -> int:
        """Run a command to its end; returns its exit status.

        Args:
            command: its words.
            options: of ``subprocess.Popen``.

        Raises:
            OSError: there is no such program.
            RuntimeError: commands have been stopped.
        """
        with self._lock:
            if self._is_stopped:
                raise RuntimeError('it was stopped before it began')
            process = subprocess.Popen(command, **options)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """Send SIGTERM to what runs, which a training answers with a checkpoint; begin no more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()


class HeldByAnotherError(BlockingIOError):
    """Another process holds the folder."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold a folder alone, by a file in it; a command that is given the file holds it on.

    It is free when all of them have ended, however that came about. On a disk without locks
    nothing can be told of others: the folder is used with a warning.

    Args:
        folder: made if it is not there.

    Yields:
        A file descriptor, for ``pass_fds``.

    Raises:
        HeldByAnotherError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise HeldByAnotherError(f'another process is at work in {folder}') from error
            warnings.warn(
                f'the disk of {folder} has no locks ({error.strerror}), so that it cannot be told '
                'whether another process is at work there; run one at a time',
                stacklevel=3,
            )
        yield file.fileno()


def run_command(
    command: Sequence[str],
    log: Path,
    folder: Path,
    env: Mapping[str, str] | None = None,
    submit: Sequence[str] = (),
    patience: float = _PATIENCE,
    commands: Commands | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Run a command to its end; returns its exit status.

    Args:
        command: its words.
        log: file that its output is added to.
        folder: that it is run in.
        env: of the process; None: this one's.
        submit: words before it that have it run elsewhere, on a machine with the same disk:
            ``['srun', '--gres=gpu:1']``. They must wait for its end. Its status is noted in a
            file, as not all of them pass it on.
        patience: seconds to wait for that file.
        commands: that it is one of, and stopped with; None: it runs to its end.
        pass_fds: descriptors of files that it holds open.

    Raises:
        OSError: there is no such program.
        RuntimeError: ``submit`` came back before the command had ended, or all were stopped.
    """
    note = log.with_suffix('.status')
    if submit:
        note.unlink(missing_ok=True)
        command = [*submit, 'sh', '-c', _NOTED, 'sh', str(note), *command]
    with log.open('a') as output:
        code = (commands or Commands()).call(
            command, cwd=folder, env=env, pass_fds=pass_fds,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    return _noted_status(note, code, submit, patience) if submit else code


def _noted_status(note: Path, code: int, submit: Sequence[str], patience: float) -> int:
    """The status that a command has noted; that of ``submit``, if it failed and there is none."""
    end = time.monotonic() + (0 if code else patience)
    while not (text := note.read_text().strip() if note.is_file() else ''):
        if time.monotonic() >= end:
            if code:
                return code
            raise RuntimeError(
                f'--submit {" ".join(submit)} came back before the run had ended; it must wait, as '
                'srun and sbatch --wait do'
            )
        time.sleep(0.5)
    note.unlink()
    return int(text)
