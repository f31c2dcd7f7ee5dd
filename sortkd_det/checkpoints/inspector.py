"""What a checkpoint file says of its contents, read without making anything of it."""

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, BinaryIO

import torch

#: Methods of MMEngine's ``HistoryBuffer`` that its pickles name.
HISTORY_STATISTICS = ('min', 'max', 'mean', 'current')

_MAX_DEPTH = 100  # of lists in lists
_MAX_CONTAINERS = 2**20  # dicts, lists and tuples; each may take 250 times its bytes in the file
_MAX_RECORDS = 2**20  # of a zip file
_MAX_EXPANDED = 2**20  # bytes of a tensor that is larger than what it is a view of


def inspect_checkpoint(path: str) -> None:
    """Read the pickles of a checkpoint without making anything of what they describe.

    Raises:
        RefusedObjectError: an object beyond tensors and plain types; the message names it.
        ValueError, or what readers of zip files and pickles raise: loading would fail, or take
            more than the file has.
    """
    with open(path, 'rb') as file:
        num_bytes = os.fstat(file.fileno()).st_size
        is_zip = file.read(4) == b'PK\x03\x04'
        file.seek(0)
        content = (_inspect_zip if is_zip else _inspect_legacy)(file, num_bytes)
    entries, _ = _measure(content, {})
    if entries > max(_MAX_CONTAINERS, num_bytes):
        raise ValueError('written out, it would be far larger than the file')


def _inspect_zip(file: BinaryIO, num_bytes: int) -> Any:
    """What the pickle of a file in torch's present format, a zip of plain records, describes."""
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
    reader = _Inspector(_Stream(io.BytesIO(pickled), len(pickled)))
    content = reader.load()
    for key, storage in reader.storages.items():
        if storage.num_bytes != sizes.get(f'data/{key}'):
            raise ValueError(
                f'storage {key} claims {storage.num_bytes} bytes, its record has '
                f'{sizes.get(f"data/{key}", "no")}'
            )
    return content


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


def _inspect_legacy(file: BinaryIO, num_bytes: int) -> Any:
    """What the fourth of the five pickles in torch's old format describes."""
    stream = _Stream(file, num_bytes)
    if _Inspector(stream).load() != torch.serialization.MAGIC_NUMBER:
        raise ValueError('it does not begin as one')
    for _ in ('protocol', 'system'):
        _Inspector(stream).load()
    reader = _Inspector(stream)
    content = reader.load()
    _Inspector(stream).load()  # the order of the storages, which follow
    claimed = sum(storage.num_bytes for storage in reader.storages.values())
    if claimed > stream.left:
        raise ValueError(f'its storages claim {claimed} bytes, {stream.left} are left')
    return content


class RefusedObjectError(Exception):
    """An object that is refused; the message is its name."""


class _Stream:
    """A file of pickles, whose end is an error wherever it comes too early.

    Attributes:
        left: bytes that have not been read.
    """

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file, self.left = file, num_bytes

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise EOFError('it is cut off')
        content = self._file.read(size)
        self.left -= len(content)
        return content

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b'\n'):
            raise EOFError('it is cut off')
        self.left -= len(line)
        return line


class _Inspector(pickle._Unpickler):
    """Reads a pickle with stand-ins for all that torch's weights-only loading would make.

    Python's own unpickler in Python, and not the one in C, which sets memory
    aside as the file bids it. Instructions and names are those that torch reads.

    Attributes:
        storages: the storages that tensors lie in, by their keys.
    """

    def __init__(self, stream: _Stream) -> None:
        super().__init__(stream, encoding='utf-8')
        self.storages: dict[str, _Storage] = {}
        self.num_containers = 0
        self._allowance = max(_MAX_CONTAINERS, 4 * stream.left)

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for ``module.name``; nothing is imported."""
        full_name = f'{module.replace("__builtin__", "builtins")}.{name}'
        if full_name in _STAND_INS:
            return _STAND_INS[full_name]
        if module == 'torch' and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        raise RefusedObjectError(full_name[:200])

    def persistent_load(self, identity: Any) -> '_Storage':
        """The storage of that key, type and number of elements."""
        kind, item_size, key, _, num_items, *views = identity
        if kind != 'storage' or type(key) is not str or not isinstance(item_size, _ItemSize):
            raise TypeError('a storage without a key or a type')
        if not _are_sizes([num_items]) or any(views):
            raise ValueError('a storage without a size, or a part of one')
        storage = _Storage(item_size.num_bytes, num_items * item_size.num_bytes)
        return self.storages.setdefault(key, storage)

    def load_reduce(self) -> None:
        """Call a stand-in."""
        self._spend(self.stack[-1])
        super().load_reduce()

    def load_build(self) -> None:
        """Give the object below its state, if it is a stand-in that takes one."""
        state = self.stack.pop()
        self._spend(state)
        self.stack[-1].__setstate__(state)

    def load_newobj(self) -> None:
        """Make a stand-in, if it is of a class that is made so."""
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind not in (_Dict, _History) or arguments:
            raise TypeError('an object that is made in an odd way')
        self.append(kind())

    def _spend(self, arguments: Any) -> None:
        """Bound what is copied: an instruction of two bytes repeats a text of any length."""
        self._allowance -= sum(len(item) for item in arguments if isinstance(item, Sized))
        if self._allowance < 0:
            raise ValueError('it copies more than it holds')

    def load_empty_dictionary(self) -> None:
        """Begin a dict."""
        self.append(_Dict())

    def refuse_instruction(self) -> None:
        """Meet an instruction that torch does not read either."""
        raise pickle.UnpicklingError('it has an instruction that no checkpoint has')


def _counted(load: Callable[[_Inspector], None]) -> Callable[[_Inspector], None]:
    def count_and_load(reader: _Inspector) -> None:
        reader.num_containers += 1
        if reader.num_containers > _MAX_CONTAINERS:
            raise ValueError(f'it has more than {_MAX_CONTAINERS} dicts, lists and tuples')
        load(reader)

    return count_and_load


_READ = pickle._Unpickler.dispatch
_INSTRUCTIONS = b''.join([
    pickle.APPEND, pickle.APPENDS, pickle.BINFLOAT, pickle.BINGET, pickle.BININT, pickle.BININT1,
    pickle.BININT2, pickle.BINPERSID, pickle.BINPUT, pickle.BINUNICODE, pickle.EMPTY_TUPLE,
    pickle.GLOBAL, pickle.LONG1, pickle.LONG_BINGET, pickle.LONG_BINPUT, pickle.NEWFALSE,
    pickle.NEWTRUE, pickle.NONE, pickle.PROTO, pickle.SETITEM, pickle.SETITEMS,
    pickle.SHORT_BINSTRING, pickle.STOP, pickle.TUPLE,
])  # fmt: skip
_CONTAINERS = b''.join([
    pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.MARK, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
])  # fmt: skip
_Inspector.dispatch = {
    **dict.fromkeys(range(256), _Inspector.refuse_instruction),
    **{code: _READ[code] for code in _INSTRUCTIONS},
    **{code: _counted(_READ[code]) for code in _CONTAINERS},
    pickle.EMPTY_DICT[0]: _counted(_Inspector.load_empty_dictionary),
    pickle.BUILD[0]: _Inspector.load_build,
    pickle.NEWOBJ[0]: _Inspector.load_newobj,
    pickle.REDUCE[0]: _Inspector.load_reduce,
}


class _Dict(dict):
    """Stands for dicts, ``OrderedDict`` and ``Counter``.

    Keys are text and short integers: hashing a deep tuple would exhaust the
    stack, and large integers can be chosen so that all their hashes are one.
    """

    def __init__(self, items: Mapping | Iterable = ()) -> None:
        for key, value in items.items() if isinstance(items, dict) else items:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_checked_key(key), value)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or set(state) - {'_metadata'}:
            raise TypeError('a dict with attributes')
        for versions in state.get('_metadata', {}).values():
            if not all(isinstance(number, int | None) for number in versions.values()):
                raise TypeError('versions of weights that are no numbers')


class _ItemSize:
    """Stands for a type of storage."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes

    def __call__(self, *_: Any) -> None:
        raise RefusedObjectError('a call of a type of storage')


class _Storage:
    """Stands for a storage."""

    def __init__(self, item_size: int, num_bytes: int) -> None:
        self.item_size, self.num_bytes = item_size, num_bytes


class _Tensor:
    """Stands for a tensor."""


class _NumpyType:
    """Stands for a type of NumPy's numbers."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind not in ('f8', 'f4', 'i8', 'i4'):
            raise RefusedObjectError(f'a NumPy array of DType {kind!r:.100}')
        self.item_size = int(kind[1])

    def __setstate__(self, state: Any) -> None:
        if state != (3, '<', None, None, None, -1, -1, 0):
            raise TypeError('a DType of an odd state')


class _Array:
    """Stands for a NumPy array."""

    shape: tuple[int, ...] = (0,)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, content = state
        if not _are_sizes(shape) or math.prod(shape) * kind.item_size != len(content):
            raise ValueError('a NumPy array of another size than its content')
        self.shape = shape


class _Statistic:
    """Stands for a method of ``HistoryBuffer``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> None:
        raise RefusedObjectError(f'a call of HistoryBuffer.{self.name}')


class _History:
    """Stands for ``HistoryBuffer``, whose ``__setstate__`` takes over any methods it is given."""

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
        if not _are_sizes([state['max_length']]):
            raise TypeError('a HistoryBuffer of an odd length')


def _tensor(storage: _Storage, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    """Check a tensor against its storage; ``rest``: requires_grad, hooks, dtype or metadata."""
    if not _are_sizes([offset]) or not _are_sizes(size) or not _are_sizes(stride):
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


def _scalar(kind: _NumpyType, content: bytes) -> float:
    if len(content) != kind.item_size:
        raise ValueError('a NumPy number of another size than its content')
    return 0.0


def _reconstruct(kind: Any, shape: Any, letter: Any) -> _Array:
    if kind is not _Array or shape != (0,):
        raise TypeError('an odd NumPy array')
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as Python 3 writes them for Python 2; some encodings take hours."""
    if encoding not in ('latin1', 'latin-1'):
        raise RefusedObjectError(f'_codecs.encode(…, {encoding!r:.100})')
    return text.encode('latin-1')


def _getattr(owner: Any, name: Any) -> _Statistic:
    if owner is not _History or name not in HISTORY_STATISTICS:
        raise RefusedObjectError(f'builtins.getattr(…, {name!r:.100})')
    return _Statistic(name)


def _set(items: list) -> set:
    return {_checked_key(item) for item in items}


def _checked_key(key: Any) -> Any:
    if not isinstance(key, str) and not (isinstance(key, int | None) and abs(key or 0) < 2**53):
        raise TypeError(f'a key of a dict or a set is {type(key).__name__}, expected text')
    return key


def _are_sizes(values: Any) -> bool:
    return len(values) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in values)


_STAND_INS: dict[str, Any] = {
    'builtins.complex': complex,
    'builtins.getattr': _getattr,
    'builtins.set': _set,
    'collections.Counter': _Dict,
    'collections.OrderedDict': _Dict,
    '_codecs.encode': _encode,
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'numpy.dtype': _NumpyType,
    'numpy.ndarray': _Array,
    'numpy.core.multiarray._reconstruct': _reconstruct,
    'numpy._core.multiarray._reconstruct': _reconstruct,
    'numpy.core.multiarray.scalar': _scalar,
    'numpy._core.multiarray.scalar': _scalar,
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


def _measure(value: Any, known: dict[int, tuple[int, int]], depth: int = 0) -> tuple[int, int]:
    """How many entries a value has written out, and how deep it is.

    What is held twice counts twice: a list of ten lists of ten lists, and so on,
    takes a few bytes, and no program that copies it comes to an end.
    """
    containers = (dict, list, tuple, set)
    if not isinstance(value, containers):
        return 1, 0
    if depth > _MAX_DEPTH:
        raise ValueError(f'it is nested more than {_MAX_DEPTH} levels deep, or holds itself')
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        inner = [_measure(item, known, depth + 1) for item in items if isinstance(item, containers)]
        known[id(value)] = (
            1 + len(value) + sum(entries for entries, _ in inner),
            1 + max((height for _, height in inner), default=0),
        )
    entries, height = known[id(value)]
    if depth + height > _MAX_DEPTH:
        raise ValueError(f'it is nested more than {_MAX_DEPTH} levels deep')
    return entries, height
