"""Pickles read as data: arrays of bytes, lists, strings and integers, and nothing else.

``pickle`` is not used. The opcodes are parsed by ``pickletools``, which executes
nothing; those below build plain values, the three globals that NumPy pickles
an array with are recognised by name and never called, and anything else is an
error. What is built is never larger than what stands in the file, give or take
a factor for Python's objects, whose number is bounded.
"""

import enum
import io
import math
import pickletools
from typing import Any

import numpy as np


class _Numpy(enum.Enum):
    """What stands in a pickle for the parts of an array."""

    RECONSTRUCT = '_reconstruct'
    NDARRAY = 'ndarray'
    DTYPE = 'dtype'
    UINT8 = 'uint8'


class _Array:
    """An array that has been announced; its state comes with ``BUILD``."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.raw: bytes | str = b''
        self.order = 'C'

    def to_numpy(self) -> np.ndarray:
        raw = self.raw.encode('latin-1') if isinstance(self.raw, str) else self.raw
        return np.frombuffer(raw, np.uint8).reshape(self.shape, order=self.order)


_GLOBALS = {
    ('numpy.core.multiarray', '_reconstruct'): _Numpy.RECONSTRUCT,
    ('numpy._core.multiarray', '_reconstruct'): _Numpy.RECONSTRUCT,
    ('numpy', 'ndarray'): _Numpy.NDARRAY,
    ('numpy', 'dtype'): _Numpy.DTYPE,
}
_MAX_LENGTH = 2**40
_MAX_OPCODES = 2**21  # ten times CIFAR's; one of a single byte can take 70 bytes of memory
_UINT8_NAMES = ('u1', '|u1', 'uint8')

_INTEGERS = frozenset({'INT', 'LONG', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4'})
_STRINGS = frozenset({'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'})
_TEXTS = frozenset({'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'})
_LITERALS = _INTEGERS | _STRINGS | _TEXTS
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple, 'EMPTY_DICT': dict}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}

# What parsing and building raise on bytes that are not what they should be.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


def read_plain_pickle(content: bytes, source: str) -> dict[str, Any]:
    """Read a pickled dict of uint8 arrays, lists, tuples, strings, bytes and integers.

    Args:
        content: the pickle, of protocol 2 (as Python 2 wrote it), 3 or 4.
        source: what errors call it.

    Returns:
        The dict; keys are str, Python 2's strings are decoded as latin-1, and
        arrays among the values are read-only.

    Raises:
        ValueError: the file holds another kind of object (it is named), is
            damaged, or is no pickled dict.
    """
    try:
        return _to_numpy(_run(content), len(content))
    except _NotPlainError as error:
        raise ValueError(
            f'{source} holds {error}, which is neither an array of uint8 nor a plain type; '
            'unpickling it could run code, so it is not read'
        ) from error
    except _DAMAGED as error:
        raise ValueError(f'{source} is no pickle, or is damaged: {error}') from error


def _to_numpy(result: Any, num_bytes: int) -> dict[str, Any]:
    """The pickled dict with its arrays made."""
    if type(result) is not dict:
        raise TypeError(f'it holds a {type(result).__name__}, expected a dict')
    # One string of the file could stand for the content of a thousand arrays.
    if sum(len(value.raw) for value in result.values() if isinstance(value, _Array)) > num_bytes:
        raise ValueError('its arrays are larger than the file')
    return {
        key if isinstance(key, str) else key.decode('latin-1'): (
            value.to_numpy() if isinstance(value, _Array) else value
        )
        for key, value in result.items()
    }


class _NotPlainError(Exception):
    """An object that is refused; the message is its name."""


def _run(content: bytes) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    opcodes = pickletools.genops(io.BytesIO(content))
    for number, (opcode, argument, position) in enumerate(opcodes):
        if number == _MAX_OPCODES:
            raise ValueError(f'it has more than {_MAX_OPCODES} instructions')
        match opcode.name:
            case literal if literal in _LITERALS:
                stack.append(argument)
            case 'BINPUT' | 'LONG_BINPUT':
                memo[argument] = stack[-1]
            case 'MEMOIZE':
                memo[len(memo)] = stack[-1]
            case 'BINGET' | 'LONG_BINGET':
                stack.append(memo[argument])
            case 'MARK':
                marks.append(len(stack))
            case 'APPEND':
                _extend(stack[-2], [stack.pop()])
            case 'APPENDS':
                items = pop_to_mark()
                _extend(stack[-1], items)
            case 'SETITEM':
                _update(stack[-3], [stack.pop(-2), stack.pop()])
            case 'SETITEMS':
                items = pop_to_mark()
                _update(stack[-1], items)
            case constant if constant in _CONSTANTS:
                stack.append(_CONSTANTS[constant])
            case empty if empty in _EMPTY:
                stack.append(_EMPTY[empty]())
            case small if small in _TUPLES:
                length = _TUPLES[small]
                stack[-length:] = [tuple(stack[-length:])]
            case 'TUPLE':
                stack.append(tuple(pop_to_mark()))
            case 'GLOBAL':
                stack.append(_recognise(*argument.split(' ', 1)))
            case 'STACK_GLOBAL':
                name = stack.pop()
                stack.append(_recognise(stack.pop(), name))
            case 'REDUCE':
                arguments = stack.pop()
                stack.append(_announce(stack.pop(), arguments))
            case 'BUILD':
                state = stack.pop()
                _fill(stack[-1], state)
            case 'STOP':
                return stack.pop()
            case 'PROTO' | 'FRAME':
                pass
            case other:
                raise _NotPlainError(f'the instruction {other} at byte {position}')
    raise ValueError('it ends without a STOP')


def _extend(target: Any, items: list) -> None:
    if type(target) is not list:
        raise TypeError(f'items for a {type(target).__name__}')
    target.extend(items)


def _update(target: Any, items: list) -> None:
    """Set keys and values that alternate; keys are text, whose hashes nobody can foresee."""
    keys, values = items[::2], items[1::2]
    if type(target) is not dict or not all(isinstance(key, str | bytes) for key in keys):
        raise TypeError('a dict has strings as its keys')
    target.update(zip(keys, values, strict=True))


def _recognise(module: Any, name: Any) -> _Numpy:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError('a global has a name')
    if (module, name) not in _GLOBALS:
        raise _NotPlainError(ascii(f'{module}.{name}'[:100]))
    return _GLOBALS[module, name]


def _announce(function: Any, arguments: Any) -> _Array | _Numpy:
    """What ``function(*arguments)`` stands for; nothing is called."""
    if function is _Numpy.RECONSTRUCT and isinstance(arguments, tuple):
        return _Array()
    if function is _Numpy.DTYPE and isinstance(arguments, tuple):
        kind = arguments[0]
        if not isinstance(kind, str):
            raise TypeError('a dtype has a name')
        if kind not in _UINT8_NAMES:
            raise _NotPlainError(f'an array of dtype {kind[:100]!a}')
        return _Numpy.UINT8
    raise TypeError('a call of something that is no part of an array')


def _fill(target: Any, state: Any) -> None:
    """Give an announced array its values; a dtype's state says nothing that uint8 does not."""
    if target is _Numpy.UINT8:
        return
    if not isinstance(target, _Array):
        raise TypeError(f'a state for a {type(target).__name__}')
    _, shape, dtype, fortran_order, raw = state
    if dtype is not _Numpy.UINT8 or not isinstance(raw, bytes | str):
        raise TypeError('an array whose content is not bytes of uint8')
    if len(shape) > 2 or not all(type(n) is int and 0 <= n < _MAX_LENGTH for n in shape):
        raise ValueError('an array of an absurd shape')
    if math.prod(shape) != len(raw):
        raise ValueError(f'an array of shape {shape} with {len(raw)} values')
    target.shape, target.raw = tuple(shape), raw
    target.order = 'F' if fortran_order else 'C'
