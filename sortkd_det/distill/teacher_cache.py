"""A teacher's logits, kept in a file: what one run computed, others of the same batches read."""

import hashlib
import logging
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from .teacher import Teacher

_APPLICATION = 0x536F4B44  # what SQLite calls an application's id: whose file it is
_LAYOUT = 1  # of the table, and of what is digested
_MARKS = {'application_id': _APPLICATION, 'user_version': _LAYOUT}
_IN_THE_IMAGES = 'data_preprocessor'  # what it does is done to the images that are digested
_TABLE = (
    'CREATE TABLE IF NOT EXISTS logits '
    '(key BLOB PRIMARY KEY, dtype TEXT NOT NULL, data BLOB NOT NULL, digest BLOB NOT NULL)'
)
_PATIENCE = 60.0  # seconds that a process waits for others to have written
_RESERVE = 2**30  # bytes of a disk that are left to others, checkpoints above all


class TeacherCache:
    """Runs a teacher on a batch of images, unless the file has its logits of that very batch.

    A batch is known by a digest of all that its logits are a function of: each bit of the images
    as the teacher sees them, in their order; the teacher's weights and architecture; its
    precision, and what it is computed on. So another order, augmentation, data set, batch size or
    teacher is another batch, which is never mistaken for one that is kept. The first batch that
    the file has is computed all the same and compared, bit by bit: that tells of what no digest
    sees, such as another code of the network.

    The file is SQLite's: any number of processes of one machine read and write it, and one that
    is killed leaves whole entries. An entry has a digest of its own, and one that is damaged is
    computed anew. A file that cannot be used any more, or a full disk, ends the keeping with a
    warning, and not the run.

    Args:
        path: of the file; it is made if there is none.
        teacher: whose ``forward`` with ``mode='tensor'`` gives (N, C) logits of N images; on its
            device, with the weights that it keeps.

    Attributes:
        found: batches that the file had.
        computed: batches that the teacher was run on.

    Raises:
        ValueError: the file is none of this class.
        OSError: it cannot be opened or made.
    """

    def __init__(self, path: str | Path, teacher: Teacher) -> None:
        self.path = Path(path)
        self.teacher = teacher
        self.found = self.computed = 0
        self._identity = _identity(teacher)
        self._is_proven = False
        self._has_space = True
        self._file: sqlite3.Connection | None = None
        try:
            self._file = _open(self.path)
        except sqlite3.DatabaseError as error:
            if not _is_ours(self.path):
                raise ValueError(
                    f'teacher.cache={self.path} is no file of logits that this package wrote '
                    f'({error}); name another, or one that does not exist yet'
                ) from error
            self._give_up(error)

    def __call__(self, images: Tensor) -> Tensor:
        """The logits of a batch, the same to the bit whether they were kept or not.

        Args:
            images: (N, 3, H, W), as the teacher is given them.

        Returns:
            (N, C), on the device of the images; no other has this memory.

        Raises:
            ValueError: the teacher draws random numbers: its logits are no function of the images.
        """
        key = self._key(images)
        kept = self._look_up(key, images)
        if kept is not None and (self._is_proven or self._prove(kept, images)):
            self.found += 1
            return kept
        logits = self._compute(images)
        self.computed += 1
        self._keep(key, logits)
        return logits

    def close(self) -> None:
        """Close the file; later batches are computed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def summary(self) -> str:
        """What came from where, a sentence for the log."""
        return (
            f'teacher.cache: the logits of {self.found} batches were read from {self.path}, and '
            f'those of {self.computed} computed'
        )

    def _compute(self, images: Tensor) -> Tensor:
        before = _generators(images.device)
        logits = self.teacher.finish(self.teacher.start('forward', images, mode='tensor'))
        if _generators(images.device) != before:
            raise ValueError(
                f'teacher.cache: the teacher, {type(self.teacher.model).__name__}, draws random '
                'numbers in its forward, so that its logits of a batch cannot be kept for other '
                'runs; take teacher.cache (--share-teacher) out'
            )
        return logits

    def _prove(self, kept: Tensor, images: Tensor) -> bool:
        """Whether the teacher still gives what is kept."""
        logits = self._compute(images)
        self._is_proven = kept.dtype == logits.dtype and _bytes_of(kept) == _bytes_of(logits)
        if not self._is_proven:
            self._give_up('its logits are not those that this teacher has of the same images here')
        return self._is_proven

    def _key(self, images: Tensor) -> bytes:
        kind = images.device.type
        facts = (
            tuple(images.shape),
            images.stride(),
            images.dtype,
            torch.is_autocast_enabled(kind),
            torch.get_autocast_dtype(kind),
            *_computed_on(images.device),
        )
        digest = hashlib.sha256(self._identity)
        digest.update(repr(facts).encode())
        digest.update(_bytes_of(images))
        return digest.digest()

    def _look_up(self, key: bytes, images: Tensor) -> Tensor | None:
        if self._file is None:
            return None
        try:
            query = 'SELECT dtype, data, digest FROM logits WHERE key = ?'
            rows = self._file.execute(query, (key,)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        if not rows:
            return None
        dtype, data, digest = rows[0]
        is_typed = isinstance(dtype, str) and isinstance(data, bytes)
        if not is_typed or digest != _digest(key, dtype, data):
            print_log(
                f'teacher.cache: an entry of {self.path} is damaged, and is computed anew',
                logger='current',
                level=logging.WARNING,
            )
            return None
        logits = torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype))
        return logits.view(len(images), -1).to(images.device)

    def _keep(self, key: bytes, logits: Tensor) -> None:
        if self._file is None or not self._fits(logits):
            return
        dtype, data = str(logits.dtype).removeprefix('torch.'), _bytes_of(logits).tobytes()
        try:
            self._file.execute(
                'INSERT OR REPLACE INTO logits VALUES (?, ?, ?, ?)',
                (key, dtype, data, _digest(key, dtype, data)),
            )
        except sqlite3.Error as error:
            self._give_up(error)

    def _fits(self, logits: Tensor) -> bool:
        """Whether the disk has room for more; told once if it has none."""
        free = shutil.disk_usage(self.path.parent).free
        has_space = free >= _RESERVE + logits.nbytes
        if self._has_space and not has_space:
            print_log(
                f'teacher.cache: {free / 2**20:,.0f} MiB are free for {self.path}, and the last '
                f'{_RESERVE / 2**20:,.0f} are left to checkpoints: no more logits are kept',
                logger='current',
                level=logging.WARNING,
            )
        self._has_space = has_space
        return has_space

    def _give_up(self, reason: Exception | str) -> None:
        self.close()
        print_log(
            f'teacher.cache: {self.path} cannot be used ({reason}): the teacher is run on every '
            'batch from here on. Delete the file to have logits kept again',
            logger='current',
            level=logging.WARNING,
        )


def _open(path: Path) -> sqlite3.Connection:
    """The file, with its table; made if it is new.

    Raises:
        sqlite3.DatabaseError: it is damaged, or somebody else's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open('ab').close()  # or SQLite says 'unable to open' of whatever forbids it
    file = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        # A kill loses nothing then, though a power cut may; what it leaves is told by digests.
        file.execute('PRAGMA synchronous = OFF')
        file.execute('BEGIN IMMEDIATE')
        marks = [file.execute(f'PRAGMA {name}').fetchone()[0] for name in _MARKS]
        if marks == [0, 0] and not file.execute('SELECT name FROM sqlite_master').fetchall():
            for name, value in _MARKS.items():
                file.execute(f'PRAGMA {name} = {value}')
        elif marks != list(_MARKS.values()):
            raise sqlite3.DatabaseError('it is of another program, or another version')
        file.execute(_TABLE)
        file.execute('COMMIT')
    except BaseException:
        file.close()
        raise
    return file


def _is_ours(path: Path) -> bool:
    """Whether the head of a file has our mark, whatever became of the rest."""
    with path.open('rb') as file:
        head = file.read(72)
    return head[60:64] == _LAYOUT.to_bytes(4) and head[68:72] == _APPLICATION.to_bytes(4)


def _identity(teacher: Teacher) -> bytes:
    """A digest of what the teacher is: weights, architecture, and how it is run."""
    model = {key: value for key, value in teacher.config.model.items() if key != _IN_THE_IMAGES}
    facts = (_LAYOUT, model, str(teacher.model), teacher.dtype, teacher.compile)
    digest = hashlib.sha256(repr((*facts, teacher.channels_last)).encode())
    digest.update(teacher.checksum().encode())
    return digest.digest()


def _computed_on(device: torch.device) -> tuple[Any, ...]:
    """What the last bits of a result depend on beside its inputs: device, versions, threads."""
    if device.type == 'cuda':
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return (
            torch.__version__,
            torch.cuda.get_device_name(device),
            *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
            *(matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()),
        )
    capability = torch.backends.cpu.get_cpu_capability() if device.type == 'cpu' else None
    return (
        torch.__version__,
        device.type,
        capability,
        torch.get_num_threads(),
        torch.backends.mkldnn.enabled,
        torch.get_float32_matmul_precision(),
    )


def _generators(device: torch.device) -> list[Any]:
    """The states of the global generators, comparable."""
    _, words, *place = np.random.get_state()
    states = [torch.get_rng_state(), torch.from_numpy(words)]
    if device.type == 'cuda':
        states.append(torch.cuda.get_rng_state(device))
    return [random.getstate(), place, *(bytes(_bytes_of(state)) for state in states)]


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return memoryview(flat.view(torch.uint8).numpy())


def _digest(key: bytes, dtype: str, data: bytes) -> bytes:
    digest = hashlib.sha256(key)
    digest.update(dtype.encode())
    digest.update(data)
    return digest.digest()
