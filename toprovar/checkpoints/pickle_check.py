"""What a file of ``torch.save`` would make its reader build, worked out without building it.

The safe loader runs no code, but it allocates, multiplies and hashes whatever a file asks for: a
few bytes can ask for gigabytes or for years. So every opcode is followed with stand-ins for the
values first. What no checkpoint needs is refused, and so is a tensor outside of its data.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import torch

MAX_PICKLE_BYTES = 64 << 20
_MAX_OPCODES = 2_000_000  # a training file of the largest model has a tenth
_MAX_READ = 1 << 20
_MAX_LINE = 1024
_MAX_INT_BITS = 128
_MAX_TUPLE = 1000
"""Values a tuple may hold, those of tuples inside it included each time they occur."""
_MAX_KEYS = 20_000
"""The same for all keys that are no text, whose hashes a file can make collide."""

CheckStorage = Callable[[str, int], None]
"""Told a storage's name in the file and its bytes; raises PickleError if they are not there."""

_STORAGES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
    "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8,
}
STORAGE_SIZES = {
    "torch.storage.UntypedStorage": 1,
    **{f"{module}.{name}Storage": size for module in ("torch", "torch.cuda")
       for name, size in _STORAGES.items()},
}
"""Bytes of an element by the storage's class."""

_DTYPE_SIZES = {str(d): d.itemsize for d in vars(torch).values() if isinstance(d, torch.dtype)}
_SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
_NUMPY_DTYPE = re.compile(r"[<>=|]?[?biufc](?:1|2|4|8|16)?")
_CALLED = {
    "collections.OrderedDict", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter", "torch.Size",
    "torch.device", "torch.serialization._get_layout", "_codecs.encode", "numpy.dtype", *_SCALARS,
}
_KNOWN = _CALLED | STORAGE_SIZES.keys() | _DTYPE_SIZES.keys()


class PickleError(ValueError):
    """A pickle that is not read; the message says why."""


class BrokenPickleError(PickleError):
    """It is cut off, or no pickle."""


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    nbytes: int
    itemsize: int


@dataclass(frozen=True)
class _Tuple:
    items: tuple[Any, ...]
    weight: int


@dataclass(frozen=True)
class _Made:
    """Anything else that was built: "dict", "list", "tensor" ..."""

    kind: str


class _Reader:
    """Hands out a file's bytes in small pieces only, however many an opcode asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MAX_PICKLE_BYTES

    def read(self, size: int) -> bytes:
        if size > min(_MAX_READ, self._left):
            raise PickleError(f"asks for {size} bytes at once")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise PickleError("a name without an end")
        self._left -= len(line)
        return line


def check_pickle(file: IO[bytes], check_storage: CheckStorage) -> None:
    """Follows one pickle, from where the file is to its end.

    Raises:
        PickleError: it is damaged, or asks for what is not read.
    """
    machine, reader = _Machine(check_storage), cast(IO[bytes], _Reader(file))
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(reader)):
            if count > _MAX_OPCODES:
                raise PickleError("more opcodes than any checkpoint has")
            machine.step(opcode.name, arg)
    except PickleError:
        raise
    except (ValueError, LookupError, TypeError, EOFError) as error:
        raise BrokenPickleError(str(error)) from None


def _refuse(name: str) -> PickleError:
    return PickleError(f"it holds Python objects ({name}) that could run code; only plain "
                       "dictionaries of tensors are read")


class _Machine:
    """The stack of the unpickler. Text and numbers stand for themselves."""

    def __init__(self, check_storage: CheckStorage) -> None:
        self._check_storage = check_storage
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._keys = 0

    def step(self, opcode: str, arg: Any) -> None:
        stack = self._stack
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                self._outer.append(stack)
                self._stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[arg])
            case ("BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE"
                  | "SHORT_BINSTRING" | "NONE" | "NEWTRUE" | "NEWFALSE"):
                if isinstance(arg, int) and arg.bit_length() > _MAX_INT_BITS:
                    raise PickleError("a number too large")
                stack.append({"NEWTRUE": True, "NEWFALSE": False}.get(opcode, arg))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_SET":
                stack.append(_Made(opcode[6:].lower()))
            case "EMPTY_TUPLE":
                stack.append(_Tuple((), 1))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [_tuple(stack[-count:], count)]
            case "TUPLE":
                items = self._pop_mark()
                self._stack.append(_tuple(items, len(items)))
            case "APPEND":
                stack.pop()
                self._require_top(opcode, "list")
            case "APPENDS":
                self._pop_mark()
                self._require_top(opcode, "list")
            case "SETITEM":
                stack.pop()
                self._add_keys(opcode, [stack.pop()])
            case "SETITEMS":
                self._add_keys(opcode, self._pop_mark()[::2])
            case "GLOBAL":
                stack.append(_global(arg))
            case "BINPERSID":
                stack[-1] = self._storage(stack[-1])
            case "REDUCE":
                args = stack.pop()
                stack[-1] = _call(stack[-1], args)
            case "BUILD":
                state = stack.pop()
                if not ((stack[-1] == _Made("OrderedDict") and state == _Made("dict"))
                        or (stack[-1] == _Made("numpy dtype") and _is_plain_dtype(state))):
                    raise PickleError("sets the state of something that has none")
            case _:
                raise PickleError(f"opcode {opcode}, which no checkpoint needs")

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _require_top(self, opcode: str, *kinds: str) -> None:
        top = self._stack[-1]
        if not (isinstance(top, _Made) and top.kind in kinds):
            raise PickleError(f"opcode {opcode} on something else")

    def _add_keys(self, opcode: str, keys: list[Any]) -> None:
        self._require_top(opcode, "dict", "OrderedDict")
        self._keys += sum(_weight(key) for key in keys if not isinstance(key, str))
        if self._keys > _MAX_KEYS:
            raise PickleError("too many dictionary keys that are no text")

    def _storage(self, identity: Any) -> _Storage:
        items: tuple[Any, ...] = identity.items if isinstance(identity, _Tuple) else ()
        if len(items) not in (5, 6) or items[0] != "storage" or items[5:] not in ((), (None,)):
            raise PickleError("a reference to something that is no data of a tensor")
        kind, key, numel = items[1], items[2], items[4]
        size = STORAGE_SIZES.get(kind.name) if isinstance(kind, _Global) else None
        if size is None or not isinstance(key, str) or not isinstance(numel, int) or numel < 0:
            raise PickleError("data of an unknown kind")
        self._check_storage(key, numel * size)
        return _Storage(numel * size, size)


def _is_plain_dtype(state: Any) -> bool:
    """Whether it is the state of numpy's type of a number: (version, byte order, nothing ...)."""
    return isinstance(state, _Tuple) and state.items[2:8] == (None, None, None, -1, -1, 0)


def _weight(value: Any) -> int:
    return value.weight if isinstance(value, _Tuple) else 1


def _tuple(items: list[Any], count: int) -> _Tuple:
    if len(items) != count:
        raise BrokenPickleError("too few values")
    weight = 1 + sum(map(_weight, items))
    if weight > _MAX_TUPLE:
        raise PickleError("tuples nested too deep or too long")
    return _Tuple(tuple(items), weight)


def _global(text: str) -> _Global:
    module, _, name = text.partition(" ")
    full = f"{module}.{name}"
    if full not in _KNOWN:
        raise _refuse(full)
    return _Global(full)


def _call(function: Any, args: Any) -> Any:
    """What a call gives, if it is one that checkpoints hold."""
    if not isinstance(function, _Global) or not isinstance(args, _Tuple):
        raise PickleError("a call of something that is no function")
    name, items = function.name, args.items
    if name.startswith("torch._utils._rebuild_tensor") and len(items) >= 4:
        itemsize = None
        if name.endswith("_v3") and len(items) >= 7 and isinstance(items[6], _Global):
            itemsize = _DTYPE_SIZES.get(items[6].name)
        return _tensor(items[0], items[1], items[2], items[3], itemsize)
    ok = False
    match name, items:
        case "collections.OrderedDict", ():
            return _Made("OrderedDict")
        case "torch._utils._rebuild_parameter", (_Made("tensor"), *_):
            return _Made("tensor")
        case "numpy.dtype", (str(text), *_) if _NUMPY_DTYPE.fullmatch(text):
            return _Made("numpy dtype")
        case "_codecs.encode", (str(), "latin1"):
            return _Made("bytes")
        case "torch.Size", (_Tuple(sizes, _),):
            ok = all(isinstance(n, int) for n in sizes)
        case ("torch.device" | "torch.serialization._get_layout"), (str(), *_):
            ok = True
        case scalar, (_Made("numpy dtype"), _Made("bytes")) if scalar in _SCALARS:
            ok = True
    if not ok:
        raise _refuse(name)
    return _Made(name)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, itemsize: int | None) -> _Made:
    if not (isinstance(storage, _Storage) and isinstance(size, _Tuple)
            and isinstance(stride, _Tuple) and len(size.items) == len(stride.items)):
        raise PickleError("a tensor that is made of something else")
    numbers = (offset, *size.items, *stride.items)
    if not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise PickleError("a tensor of impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size.items, stride.items, strict=True))
    if all(size.items) and (last + 1) * (itemsize or storage.itemsize) > storage.nbytes:
        raise PickleError("a tensor reaches past the end of its data")
    return _Made("tensor")
