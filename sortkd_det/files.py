"""Files that are written whole or not at all."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Ends the name of a file that is not whole yet.
PARTIAL = '.partial'


def write_json(path: Path, data: Any) -> None:
    """Write valid JSON in one go: a kill leaves the old file or the new one.

    NaN and infinity, which JSON does not know, become null.
    """
    partial = path.with_name(f'.{path.name}.partial')
    text = json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + '\n', encoding='utf-8')
    os.replace(partial, path)


def finite(value: Any) -> Any:
    """Copy of ``value`` with NaN and infinity, which JSON does not know, as None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def make_durable(partial: Path, path: Path) -> None:
    """Put a file that was written under another name on the disk, then under its own."""
    with open(partial, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: str | Path, option: str) -> None:
    """Make a folder that is to be written to.

    Raises:
        OSError: it cannot be; the message names ``option``, which gave it.
    """
    try:
        os.makedirs(path, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, 'Permission denied')
    except OSError as error:
        raise type(error)(
            f'{option}: {path} cannot be a folder to write to ({error.strerror}); name another'
        ) from error
