"""What a file of ``torch.save`` says of its contents, read without making anything of it."""

import io
import math
import os
import pickle
import struct
import zipfile
from typing import Any, BinaryIO

import torch

from .pickles import NUMPY, Dict, DType, DTypes, PickleReader, Stream, are_sizes, checked_key
from .refused import refuse_object

#: Methods of MMEngine's ``HistoryBuffer`` that its pickles name.
HISTORY_STATISTICS = ('min', 'max', 'mean', 'current')

_MAX_RECORDS = 2**20  # of a zip file
_MAX_EXPANDED = 2**20  # bytes of a tensor that is larger than what it is a view of


def inspect_checkpoint(path: str) -> None:
    """Read the pickles of a checkpoint without making anything of what they describe.

    Raises:
        CheckpointRefused: an object beyond tensors and plain types; the message names it, without
            the file.
        DAMAGED: loading would fail, or take more than the file has.
    """
    with open(path, 'rb') as file:
        num_bytes = os.fstat(file.fileno()).st_size
        (_inspect_zip if is_zip(path) else _inspect_legacy)(file, num_bytes)


def is_zip(path: str) -> bool:
    """Whether a file begins as one in torch's present format does, a zip of plain records."""
    with open(path, 'rb') as file:
        return file.read(4) == b'PK\x03\x04'


def _inspect_zip(file: BinaryIO, num_bytes: int) -> None:
    """Inspect a file in torch's present format."""
    place, length = _list_of_records(file, num_bytes)
    if length > _MAX_RECORDS * 46:  # the least that a record takes there
        raise ValueError(f'it has more than {_MAX_RECORDS} records')
    with zipfile.ZipFile(file) as archive:
        if archive.start_dir != place:
            raise ValueError('its list of records is not where it says')
        infos = archive.infolist()
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ValueError(
                    f'its record {info.filename} is compressed ({info.compress_size} bytes to '
                    f'{info.file_size}), which torch.save never does'
                )
        if sum(info.file_size for info in infos) > num_bytes:
            raise ValueError('its records are larger than the file')
        if len({info.filename.lower() for info in infos}) < len(infos):
            raise ValueError('it has two records of one name')
        root = infos[0].filename.partition('/')[0]
        sizes = {info.filename.removeprefix(f'{root}/'): info.file_size for info in infos}
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f'the checksum of {damaged} in it is wrong')
        pickled = archive.read(f'{root}/data.pkl')
    reader = _TorchReader(Stream(io.BytesIO(pickled), len(pickled)))
    reader.load()
    for key, storage in reader.storages.items():
        if storage.num_bytes != sizes.get(f'data/{key}'):
            raise ValueError(
                f'storage {key} claims {storage.num_bytes} bytes, its record has '
                f'{sizes.get(f"data/{key}", "no")}'
            )


def _list_of_records(file: BinaryIO, num_bytes: int) -> tuple[int, int]:
    """Place and length of a zip file's list of records, by the entries at the file's very end.

    Readers of zip files differ in where they look and in what they forgive. A file that
    they could read differently is refused: what is inspected here, torch's own reader loads.
    """
    end, locator, end64 = struct.Struct('<4s4H2LH'), struct.Struct('<4sLQL'), '<4sQ2H2L4Q'
    file.seek(max(0, num_bytes - end.size - locator.size - struct.calcsize(end64)))
    tail = file.read()
    signature, *_, length, place, comment = end.unpack(tail[-end.size :])
    if signature != b'PK\x05\x06' or comment:
        raise ValueError('it is cut off, or goes on after its end')
    tail = tail[: -end.size]
    if tail[-locator.size :].startswith(b'PK\x06\x07'):
        _, _, place64, _ = locator.unpack(tail[-locator.size :])
        tail = tail[: -locator.size]
        if place64 != num_bytes - end.size - locator.size - len(tail):
            raise ValueError('its end is not where it says')
        *_, length, place = struct.unpack(end64, tail)
    return place, length


def _inspect_legacy(file: BinaryIO, num_bytes: int) -> None:
    """Inspect the five pickles in torch's old format, of which the fourth is the content."""
    stream = Stream(file, num_bytes)

    def next_pickle() -> tuple[Any, dict[str, _Storage]]:
        reader = _TorchReader(stream)
        return reader.load(), reader.storages

    if next_pickle()[0] != torch.serialization.MAGIC_NUMBER:
        raise ValueError('it does not begin as one')
    for _ in ('protocol', 'system'):
        next_pickle()
    _, storages = next_pickle()
    next_pickle()  # the order of the storages, which follow
    claimed = sum(storage.num_bytes for storage in storages.values())
    if claimed > stream.left:
        raise ValueError(f'its storages claim {claimed} bytes, {stream.left} are left')


class _ItemSize:
    """Stands for a type of storage."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes

    def __call__(self, *_: Any) -> None:
        raise refuse_object('a call of a type of storage')


class _Storage:
    """Stands for a storage."""

    def __init__(self, item_size: int, num_bytes: int) -> None:
        self.item_size, self.num_bytes = item_size, num_bytes


class _Tensor:
    """Stands for a tensor."""


class _Statistic:
    """Stands for a method of ``HistoryBuffer``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> None:
        raise refuse_object(f'a call of HistoryBuffer.{self.name}')


class _History:
    """Stands for ``HistoryBuffer``, whose ``__setstate__`` takes over any methods it is given."""

    is_made_without_arguments = True

    def __setstate__(self, state: Any) -> None:
        methods = state.pop('statistics_methods', {})
        if set(state) != {'_log_history', '_count_history', 'max_length'}:
            raise TypeError('a HistoryBuffer of odd contents')
        for name, method in methods.items():
            if not isinstance(method, _Statistic) or method.name != name:
                raise TypeError('a HistoryBuffer of odd methods')
        values, counts = state['_log_history'], state['_count_history']
        if len(values.shape) != 1 or values.shape != counts.shape:
            raise ValueError('a HistoryBuffer of odd shapes')
        if not are_sizes([state['max_length']]):
            raise TypeError('a HistoryBuffer of an odd length')


def _tensor(storage: _Storage, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    """Check a tensor against its storage; ``rest``: requires_grad, hooks, dtype or metadata."""
    if not are_sizes([offset]) or not are_sizes(size) or not are_sizes(stride):
        raise TypeError('a tensor of an odd size')
    if len(rest) > 1 and rest[1]:
        raise TypeError('a tensor with hooks')
    has_dtype = len(rest) > 2 and isinstance(rest[2], torch.dtype)
    item_size = rest[2].itemsize if has_dtype else storage.item_size
    num_items = math.prod(size)
    steps = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if num_items and (offset + steps + 1) * item_size > storage.num_bytes:
        raise ValueError(
            f'a tensor of size {tuple(size)} and stride {tuple(stride)} goes beyond the '
            f'{storage.num_bytes} bytes of its storage'
        )
    if num_items * item_size > max(storage.num_bytes, _MAX_EXPANDED):
        raise ValueError(
            f'a tensor of size {tuple(size)} repeats the {storage.num_bytes} bytes of its storage'
        )
    return _Tensor()


def _parameter(tensor: _Tensor, requires_grad: Any, hooks: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor) or hooks:
        raise TypeError('a parameter with hooks, or without a tensor')
    return tensor


def _scalar(kind: DType, content: bytes) -> float:
    if len(content) != kind.item_size:
        raise ValueError('a NumPy number of another size than its content')
    return 0.0


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as Python 3 writes them for Python 2; some encodings take hours."""
    if encoding not in ('latin1', 'latin-1'):
        raise refuse_object(f'_codecs.encode(…, {encoding!r:.100})')
    return text.encode('latin-1')


def _getattr(owner: Any, name: Any) -> _Statistic:
    if owner is not _History or name not in HISTORY_STATISTICS:
        raise refuse_object(f'builtins.getattr(…, {name!r:.100})')
    return _Statistic(name)


def _set(items: list) -> set:
    return {checked_key(item) for item in items}


_STAND_INS: dict[str, Any] = {
    **NUMPY,
    'builtins.complex': complex,
    'builtins.getattr': _getattr,
    'builtins.set': _set,
    'collections.Counter': Dict,
    'collections.OrderedDict': Dict,
    '_codecs.encode': _encode,
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'numpy.dtype': DTypes('f8', 'f4', 'i8', 'i4'),
    'numpy.core.multiarray.scalar': _scalar,
    'numpy._core.multiarray.scalar': _scalar,
    **{f'torch.{name}': v for name, v in vars(torch).items() if isinstance(v, torch.dtype)},
    'torch.Size': tuple,
    'torch.device': lambda *_: None,
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _tensor,
    'torch.storage.UntypedStorage': _ItemSize(1),
    **{
        f'torch.{name}Storage': _ItemSize(size)
        for size, names in {
            1: ('Bool', 'Byte', 'Char'),
            2: ('BFloat16', 'Half', 'Short'),
            4: ('Float', 'Int'),
            8: ('ComplexFloat', 'Double', 'Long'),
            16: ('ComplexDouble',),
        }.items()
        for name in names
    },
}


class _TorchReader(
    PickleReader,
    instructions=b''.join([pickle.BINFLOAT, pickle.BINPERSID, pickle.EMPTY_SET, pickle.NEWOBJ]),
):
    """Reads what torch's weights-only loading reads: the same instructions, the same names.

    Attributes:
        storages: the storages that tensors lie in, by their keys.
    """

    stand_ins = _STAND_INS

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, identity: Any) -> '_Storage':
        """The storage of that key, type and number of elements."""
        kind, item_size, key, _, num_items, *views = identity
        if kind != 'storage' or type(key) is not str or not isinstance(item_size, _ItemSize):
            raise TypeError('a storage without a key or a type')
        if not are_sizes([num_items]) or any(views):
            raise ValueError('a storage without a size, or a part of one')
        storage = _Storage(item_size.num_bytes, num_items * item_size.num_bytes)
        return self.storages.setdefault(key, storage)
