"""Pickles read as data: their opcodes are interpreted here, and nothing in them is ever called.

Python's own unpickler imports and calls what the file names, so that a data file can run any
program. CIFAR-10 comes as pickles of a few plain values and one array of bytes; this reads just
such files, on a stack of our own, and refuses every other opcode and every other name.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mitools._validation import FileFormatError


def read_pickle(content: bytes, name: str) -> Any:
    """Return the value in a pickle of plain values and arrays of unsigned bytes.

    Parameters
    ----------
    content : bytes
        The pickle, of protocol 2 or later. Strings of Python 2 become str, as Latin-1.
    name : str
        For messages.

    Raises
    ------
    FileFormatError
        If the pickle is corrupt or cut short, or holds anything else; nothing of it has run.
    """
    try:
        return _run(content)
    except _RefusedError as refusal:
        raise FileFormatError(
            f"{name} must be a pickle of plain values and byte arrays; it {refusal}. Nothing in "
            "it was run. If it does not come from the data's authors, do not open it with pickle."
        ) from None
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
        struct.error,
    ) as error:
        raise FileFormatError(
            f"{name} must be a whole pickle; reading it failed with {type(error).__name__}: "
            f"{error}. It is corrupt or cut short: get it again."
        ) from None


class _RefusedError(Exception):
    """What a pickle wanted and does not get."""


@dataclass
class _Machine:
    """The pickle machine's state: a stack, the marks in it, and the memo."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        """Pop everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def last(self, count: int) -> list[Any]:
        """Pop the last `count` items."""
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items


@dataclass(frozen=True)
class _Name:
    """What a pickle calls a function or class: only its name, never the thing."""

    module: str
    name: str


@dataclass
class _Bytes:
    """An array of unsigned bytes in the making."""

    array: NDArray[np.uint8] | None = None


_ENCODE = _Name("_codecs", "encode")
_DTYPE = _Name("numpy", "dtype")
_NDARRAY = _Name("numpy", "ndarray")
_RECONSTRUCT = {_Name(f"numpy.{c}.multiarray", "_reconstruct") for c in ("core", "_core")}
_FROM_BUFFER = {_Name(f"numpy.{c}.numeric", "_frombuffer") for c in ("core", "_core")}
_NAMES = {_ENCODE, _DTYPE, _NDARRAY} | _RECONSTRUCT | _FROM_BUFFER
_BYTE = object()  # stands for the only dtype there is here

_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_MADE: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _run(content: bytes) -> Any:
    machine = _Machine()
    stack, memo = machine.stack, machine.memo
    argument: Any  # a number, a text or bytes, as the opcode has it
    for opcode, argument, _ in pickletools.genops(content):
        op = opcode.name
        if op in _VALUES:
            stack.append(argument)
        elif op in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif op == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif op in _MADE:
            stack.append(_MADE[op]())
        elif op in _TUPLES:
            stack.append(tuple(machine.last(_TUPLES[op])))
        elif op == "MARK":
            machine.marks.append(len(stack))
        elif op == "STOP":
            return _finished(stack)
        elif op not in ("PROTO", "FRAME"):
            _combine(op, argument, machine)
    raise ValueError("it has no end")  # pickletools raises first


def _combine(op: str, argument: Any, machine: _Machine) -> None:
    """Carry out an opcode that builds something from what lies on the stack."""
    stack = machine.stack
    if op == "TUPLE":
        stack.append(tuple(machine.since_mark()))
    elif op in ("APPEND", "APPENDS"):
        items = machine.last(1) if op == "APPEND" else machine.since_mark()
        _kind(stack[-1], list).extend(items)
    elif op in ("SETITEM", "SETITEMS"):
        items = machine.last(2) if op == "SETITEM" else machine.since_mark()
        keys = [_kind(key, str) for key in items[::2]]
        _kind(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
    elif op == "GLOBAL":
        stack.append(_allowed(*argument.split(" ", 1)))
    elif op == "STACK_GLOBAL":
        stack.append(_allowed(*machine.last(2)))
    elif op == "REDUCE":
        stack.append(_called(*machine.last(2)))
    elif op == "BUILD":
        target, state = machine.last(2)
        stack.append(_built(target, state))
    else:
        raise _RefusedError(f"uses the opcode {op}")


def _allowed(module: str, name: str) -> _Name:
    found = _Name(module, name)
    if found not in _NAMES:
        raise _RefusedError(f"names {module}.{name}")
    return found


def _called(function: Any, arguments: Any) -> Any:
    """What a call of one of the known names means, in terms of plain data."""
    if not isinstance(function, _Name):
        raise _RefusedError(f"calls a {type(function).__name__}")
    if function == _ENCODE:
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"asks for the encoding {encoding!r}")
        return _kind(text, str).encode("latin-1")
    if function == _DTYPE:
        if arguments[0] not in ("u1", "|u1", "uint8"):
            raise _RefusedError(f"holds an array of {arguments[0]!r}")
        return _BYTE
    if function in _RECONSTRUCT and arguments[0] == _NDARRAY:
        return _Bytes()
    if function in _FROM_BUFFER:
        raw, _, shape, order = arguments
        return _Bytes(_array(raw, shape, fortran=order != "C"))
    raise _RefusedError(f"calls {function.module}.{function.name} on {type(arguments).__name__}")


def _built(target: Any, state: Any) -> Any:
    if target is _BYTE:
        return target  # byte order, which single bytes have none of
    if not isinstance(target, _Bytes) or target.array is not None:
        raise _RefusedError(f"sets the state of a {type(target).__name__}")
    _, shape, _, fortran, raw = state
    target.array = _array(raw, shape, fortran=bool(fortran))
    return target


def _array(raw: Any, shape: Any, *, fortran: bool) -> NDArray[np.uint8]:
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    shape = tuple(_kind(size, int) for size in _kind(shape, tuple))
    if fortran or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} has {len(data):,} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _finished(stack: list[Any]) -> Any:
    """Replace the arrays one level down, where data files have them."""
    value = stack[-1]
    if isinstance(value, dict):
        return {k: v.array if isinstance(v, _Bytes) else v for k, v in value.items()}
    return value.array if isinstance(value, _Bytes) else value
