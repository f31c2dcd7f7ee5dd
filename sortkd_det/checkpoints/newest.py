"""Which checkpoint of a run is the newest: found, and noted."""

import re
import warnings
from pathlib import Path

from sortkd_det.files import written_whole

from .read import load_checkpoint

_CHECKPOINT = re.compile(r'(?:stopped_)?(?:epoch|iter)_\d+\.pth')


def newest_checkpoint(work_dir: str) -> str | None:
    """Path of the newest checkpoint of a run that loads, or None; warns of those that do not.

    ``last_checkpoint`` is asked first, as :func:`noted_checkpoint` does; then files of
    the work dir by age.

    Raises:
        ValueError: there are checkpoints, and none loads.
    """
    folder = Path(work_dir)
    paths = [path for path in folder.glob('*.pth') if _CHECKPOINT.fullmatch(path.name)]
    paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    last = noted_checkpoint(work_dir)
    if last is not None:
        paths = [last, *(path for path in paths if path.name != last.name)]
    for path in paths:
        try:
            checkpoint = load_checkpoint(str(path))
            if {'state_dict', 'meta', 'message_hub'} <= set(checkpoint):
                return str(path)
            reason = f'it holds only {sorted(checkpoint)}'
        except ValueError as error:
            reason = str(error)
        warnings.warn(
            f'{path} cannot be resumed from and the one before is tried: {reason}', stacklevel=2
        )
    if paths:
        raise ValueError(
            f'none of the {len(paths)} checkpoints in {work_dir} can be resumed from; of the last '
            f'that was tried: {reason}. To begin anew, name another work dir'
        )
    return None


def noted_checkpoint(work_dir: str) -> Path | None:
    """The checkpoint that ``last_checkpoint`` in a work dir names, or None where there is none.

    A copied folder names the files of the old one: its own of the same name comes first, and
    a warning tells where it has none.
    """
    note = Path(work_dir, 'last_checkpoint')
    named = note.read_text().strip() if note.is_file() else ''
    if not named:
        return None
    own, other = Path(work_dir, Path(named).name), Path(named)
    if own.is_file():
        return own
    if other.is_file():
        warnings.warn(f'{own} is not there, and {other} is taken, which {note} names', stacklevel=3)
        return other
    warnings.warn(f'{note} names {other}, and no such file is there', stacklevel=3)
    return None


def note_last_checkpoint(work_dir: str, path: str) -> None:
    """Write which checkpoint of a run is the newest; a kill leaves the note whole."""
    with written_whole(Path(work_dir, 'last_checkpoint')) as note:
        note.write_text(path)
