"""Files that are written whole or not at all, and what reading a damaged one raises."""

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import pickle
import shutil
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Ends the name of a file that is not whole yet.
PARTIAL = '.partial'

#: What readers of pickles and archives raise on bytes that are not what they should be.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def written_whole(path: Path, unique: bool = False) -> Iterator[Path]:
    """Write a file or a folder under another name, which becomes ``path`` when it is whole.

    A kill leaves what was there, or the new one, and perhaps the unfinished one, whose name
    begins with a dot and ends in :data:`PARTIAL`; the next to write ``path`` removes it. So does
    an error.

    Args:
        path: of the file, or of a folder, which must not exist or be empty.
        unique: give each writer a name of its own, so that several may write at one time.

    Yields:
        The path to write to; nothing is there.
    """
    partial = path.with_name(f'.{path.name}{f".{uuid.uuid4().hex}" if unique else ""}{PARTIAL}')
    _remove(partial)
    try:
        yield partial
        make_durable(partial, path)
    finally:
        _remove(partial)


def make_durable(partial: Path, path: Path) -> None:
    """Put a file that was written under another name on the disk, then under its own."""
    _synchronize(partial)
    os.replace(partial, path)
    _synchronize(path.parent)


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write valid JSON in one go: a kill leaves the old file or the new one.

    NaN and infinity, which JSON does not know, become null.
    """
    text = json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
    with written_whole(path) as partial:
        partial.write_text(text + '\n', encoding='utf-8')


def finite(value: Any) -> Any:
    """Copy of ``value`` with NaN and infinity, which JSON does not know, as None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; of one that has not changed since, as it was then."""
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.cache
def _digest(path: Path, size: int, changed: int) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


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
