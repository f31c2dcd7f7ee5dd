"""Commands of a matrix: run here, or handed to a cluster by words that wait for their end."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# What is run elsewhere: the command, and a note of how it ended.
_NOTED = 'file=$1; shift; "$@"; status=$?; echo $status > "$file"; exit $status'
_PATIENCE = 90.0  # seconds until a file that another machine wrote is seen on a shared disk


def run_command(
    command: Sequence[str],
    log: Path,
    folder: Path,
    env: Mapping[str, str] | None = None,
    submit: Sequence[str] = (),
    patience: float = _PATIENCE,
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

    Raises:
        OSError: there is no such program.
        RuntimeError: ``submit`` came back before the command had ended.
    """
    note = log.with_suffix('.status')
    if submit:
        note.unlink(missing_ok=True)
        command = [*submit, 'sh', '-c', _NOTED, 'sh', str(note), *command]
    with log.open('a') as output:
        code = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
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
