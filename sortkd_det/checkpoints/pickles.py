"""Pickles read as data: nothing that they name is imported, called or made.

What is built is never larger than what stands in the file, give or take a factor for Python's
objects, whose number is bounded.
"""

import functools
import io
import math
import pickle
import pickletools
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, BinaryIO, ClassVar

import numpy as np

from sortkd_det.files import DAMAGED

from .refused import CheckpointRefused, refuse_object

_MAX_DEPTH = 100  # of lists in lists
_MAX_CONTAINERS = 2**20  # dicts, lists and tuples; each may take 250 times its bytes in the file

# What every kind of pickle may hold, in torch's format and in NumPy's.
_INSTRUCTIONS = b''.join([
    pickle.APPEND, pickle.APPENDS, pickle.BINGET, pickle.BININT, pickle.BININT1, pickle.BININT2,
    pickle.BINPUT, pickle.BINUNICODE, pickle.BUILD, pickle.EMPTY_DICT, pickle.EMPTY_LIST,
    pickle.EMPTY_TUPLE, pickle.GLOBAL, pickle.LONG1, pickle.LONG_BINGET, pickle.LONG_BINPUT,
    pickle.MARK, pickle.NEWFALSE, pickle.NEWTRUE, pickle.NONE, pickle.PROTO, pickle.REDUCE,
    pickle.SETITEM, pickle.SETITEMS, pickle.SHORT_BINSTRING, pickle.STOP, pickle.TUPLE,
    pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
])  # fmt: skip
# A byte of these takes the memory of an object.
_COUNTED = b''.join([
    pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.MARK, pickle.MEMOIZE,
    pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
])  # fmt: skip


class Stream:
    """A file of pickles, whose end is an error wherever it comes too early.

    Attributes:
        left: bytes that have not been read.
    """

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file, self.left = file, num_bytes

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; no memory is set aside for more than there are."""
        if size > self.left:
            raise EOFError('it is cut off')
        self.left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        """The rest of the line."""
        line = self._file.readline()
        if not line.endswith(b'\n'):
            raise EOFError('it is cut off')
        self.left -= len(line)
        return line


class PickleReader(pickle._Unpickler):
    """Reads a pickle with stand-ins for all objects that it names.

    Python's own unpickler in Python, and not the one in C, which sets memory aside as the file
    bids it. A subclass lists its instructions beyond those of all, and its stand-ins by name.

    Args:
        stream: is read to the end of the pickle, no further.
        encoding: of the texts that Python 2 wrote.
    """

    stand_ins: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, instructions: bytes) -> None:
        known = {
            **pickle._Unpickler.dispatch,
            pickle.BUILD[0]: cls.load_build,
            pickle.EMPTY_DICT[0]: cls.load_empty_dictionary,
            pickle.NEWOBJ[0]: cls.load_newobj,
            pickle.REDUCE[0]: cls.load_reduce,
        }
        cls.dispatch = {code: functools.partial(_refuse, code) for code in range(256)}
        for code in _INSTRUCTIONS + instructions:
            cls.dispatch[code] = _counted(known[code]) if code in _COUNTED else known[code]

    def __init__(self, stream: Stream, encoding: str = 'utf-8') -> None:
        super().__init__(stream, encoding=encoding)
        self.num_containers = 0
        self._stream, self._num_bytes = stream, stream.left
        self._allowance = max(_MAX_CONTAINERS, 4 * stream.left)

    def load(self) -> Any:
        """What the pickle holds, with stand-ins.

        Raises:
            CheckpointRefused: an object that is not let through; its place is set, its file is not.
            DAMAGED: an instruction that is not let through, an end that comes too early, or more
                than the file holds when it is written out.
        """
        try:
            content = super().load()
        except CheckpointRefused as error:
            error.place = f'byte {self._num_bytes - self._stream.left} of its pickle'
            raise
        entries, _ = _measure(content, {})
        if entries > max(_MAX_CONTAINERS, self._num_bytes):
            raise ValueError('written out, it would be far larger than the file')
        return content

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for ``module.name``; nothing is imported."""
        full_name = f'{module.replace("__builtin__", "builtins")}.{name}'
        if full_name not in self.stand_ins:
            raise refuse_object(full_name)
        return self.stand_ins[full_name]

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
        if not getattr(kind, 'is_made_without_arguments', False) or arguments:
            raise TypeError('an object that is made in an odd way')
        self.append(kind())

    def load_empty_dictionary(self) -> None:
        """Begin a dict."""
        self.append(Dict())

    def _spend(self, arguments: Any) -> None:
        """Bound what is copied: an instruction of two bytes repeats a text of any length."""
        self._allowance -= sum(len(item) for item in arguments if isinstance(item, Sized))
        if self._allowance < 0:
            raise ValueError('it copies more than it holds')


def _refuse(code: int, reader: PickleReader) -> None:
    known = pickletools.code2op.get(chr(code))
    name = known.name if known else f'0x{code:02x}'
    raise pickle.UnpicklingError(f'it has the instruction {name}, which no such file has')


def _counted(load: Callable[[PickleReader], None]) -> Callable[[PickleReader], None]:
    def count_and_load(reader: PickleReader) -> None:
        reader.num_containers += 1
        if reader.num_containers > _MAX_CONTAINERS:
            raise ValueError(f'it has more than {_MAX_CONTAINERS} dicts, lists and tuples')
        load(reader)

    return count_and_load


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


class Dict(dict):
    """Stands for dicts, ``OrderedDict`` and ``Counter``."""

    is_made_without_arguments = True

    def __init__(self, items: Mapping | Iterable = ()) -> None:
        for key, value in items.items() if isinstance(items, dict) else items:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(checked_key(key), value)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or set(state) - {'_metadata'}:
            raise TypeError('a dict with attributes')
        for versions in state.get('_metadata', {}).values():
            if not all(isinstance(number, int | None) for number in versions.values()):
                raise TypeError('versions of weights that are no numbers')


def checked_key(key: Any) -> Any:
    """A key of a dict or a set: text or a short integer.

    Hashing a deep tuple would exhaust the stack, and large integers can be chosen so that all
    their hashes are one.
    """
    is_short = isinstance(key, int | None) and abs(key or 0) < 2**53
    if not is_short and not isinstance(key, str | bytes):
        raise TypeError(f'a key of a dict or a set is {type(key).__name__}, expected text')
    return key


def are_sizes(values: Any) -> bool:
    """Whether these are up to 64 whole numbers that a tensor's size may hold."""
    return len(values) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in values)


class DTypes:
    """Stands for ``numpy.dtype``, which makes the given types alone."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, name: Any, *_: Any) -> 'DType':
        """The type of that name."""
        if name not in self._names:
            raise refuse_object(f'a NumPy array of dtype {name!r:.100}')
        return DType(np.dtype(name).itemsize)


class DType:
    """Stands for a type of NumPy's numbers."""

    def __init__(self, item_size: int) -> None:
        self.item_size = item_size

    def __setstate__(self, state: Any) -> None:
        # A number of one byte has no order.
        if self.item_size > 1 and state != (3, '<', None, None, None, -1, -1, 0):
            raise TypeError('a dtype of an odd state')


class Array:
    """Stands for a NumPy array."""

    shape: tuple[int, ...] = (0,)
    content: bytes | str = b''
    is_fortran = False

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(content, bytes | str):
            raise TypeError('a NumPy array whose content is no bytes')
        if not are_sizes(shape) or math.prod(shape) * dtype.item_size != len(content):
            raise ValueError('a NumPy array of a shape that does not fit its content')
        self.shape, self.content, self.is_fortran = shape, content, bool(is_fortran)


def _reconstruct(kind: Any, shape: Any, letter: Any) -> Array:
    if kind is not Array or shape != (0,):
        raise TypeError('an odd NumPy array')
    return Array()


#: Stand-ins of what NumPy makes arrays with, but for the types of numbers.
NUMPY = {
    'numpy.ndarray': Array,
    'numpy.core.multiarray._reconstruct': _reconstruct,
    'numpy._core.multiarray._reconstruct': _reconstruct,
}


class _Uint8Reader(
    PickleReader,
    instructions=b''.join([
        pickle.BINBYTES, pickle.BINBYTES8, pickle.BINSTRING, pickle.BINUNICODE8, pickle.FRAME,
        pickle.LONG4, pickle.MEMOIZE, pickle.SHORT_BINBYTES, pickle.SHORT_BINUNICODE,
        pickle.STACK_GLOBAL,
    ]),
):  # fmt: skip
    """Reads arrays of bytes, lists, texts and integers."""

    stand_ins: ClassVar = {**NUMPY, 'numpy.dtype': DTypes('u1', '|u1', 'uint8')}


def read_plain_pickle(content: bytes, source: str) -> dict[str, Any]:
    """Read a pickled dict of uint8 arrays, lists, tuples, strings, bytes and integers.

    Args:
        content: the pickle, of protocol 2 (as Python 2 wrote it), 3 or 4.
        source: what errors call it.

    Returns:
        The dict; keys are str, Python 2's strings are decoded as latin-1, and
        arrays among the values are read-only.

    Raises:
        CheckpointRefused: the file holds another kind of object (it is named), is
            damaged, or is no pickled dict.
    """
    try:
        result = _Uint8Reader(Stream(io.BytesIO(content), len(content)), 'latin-1').load()
        if not isinstance(result, dict):
            raise TypeError(f'it holds a {type(result).__name__}, expected a dict')
        return {
            key.decode('latin-1') if isinstance(key, bytes) else str(key): _as_numpy(value)
            for key, value in result.items()
        }
    except CheckpointRefused as error:
        error.file = source
        raise
    except DAMAGED as error:
        raise CheckpointRefused(source, f'is no pickle, or is damaged: {error}') from error


def _as_numpy(value: Any) -> Any:
    if not isinstance(value, Array):
        return value
    raw = value.content.encode('latin-1') if isinstance(value.content, str) else value.content
    order = 'F' if value.is_fortran else 'C'
    return np.frombuffer(raw, np.uint8).reshape(value.shape, order=order)
