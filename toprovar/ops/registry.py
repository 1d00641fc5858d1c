"""Which implementation serves a call, and why the others do not.

An operation lists its backends, best first, with what each accepts as data; kernels are imported
only when one is chosen. ``auto`` takes the first backend that can serve the call, a name insists on
that backend. In an operation's ``__init__.py``:

    OP = register(Op(
        "token_gather",
        "Tokens of an index set, normalised and modulated in one pass.",
        backends=(
            Backend("triton", _triton, Constraints(devices=("cuda",), capability=(8, 0), ...)),
            Backend("torch", _torch),
            Backend("reference", _reference),
        ),
        kernels=_kernels,  # what benchmarks.compile_kernels compiles
    ))

    def gather(x, ..., backend="auto"):
        return OP.choose(Call(x.device, x.dtype, x.shape[-1]), backend).function(x, ...)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch

from . import triton_support

FLOATS = frozenset({torch.float32, torch.bfloat16, torch.float16})


class Call(NamedTuple):
    """What a choice depends on; it is the key of the cache, so keep it small.

    Attributes:
        device: of the tensors.
        dtype: of the main operand.
        size: the operation's main width: head size, or channels.
        features: what else the call needs, by name, such as "gradients".
    """

    device: torch.device
    dtype: torch.dtype
    size: int
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constraints:
    """What a backend accepts; None allows everything.

    Attributes:
        devices: device types.
        capability: least CUDA compute capability; it also rules AMD GPUs out, which torch calls
            "cuda" too.
        sizes: the sizes it serves; ``max_size`` and ``multiple_of`` say it as a rule.
        lacks: features it does not have.
    """

    devices: tuple[str, ...] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    capability: tuple[int, int] | None = None
    sizes: tuple[int, ...] | None = None
    max_size: int | None = None
    multiple_of: int = 1
    lacks: frozenset[str] = frozenset()

    def why_not(self, call: Call, size_name: str = "size", device_matters: bool = True
                ) -> str | None:
        """None when ``call`` is accepted, else the reason in words."""
        if device_matters:
            reason = self._why_not_device(call.device)
            if reason is not None:
                return reason
        if self.dtypes is not None and call.dtype not in self.dtypes:
            return f"serves {_names(self.dtypes)}, not {_name(call.dtype)}"
        if self.sizes is not None and call.size not in self.sizes:
            return (f"serves a {size_name} of {', '.join(map(str, self.sizes))}, "
                    f"not {call.size}")
        if self.max_size is not None and call.size > self.max_size:
            return f"serves a {size_name} up to {self.max_size}, not {call.size}"
        if call.size % self.multiple_of:
            return f"serves a {size_name} that is a multiple of {self.multiple_of}, not {call.size}"
        missing = [f for f in call.features if f in self.lacks]
        return f"does not support {', '.join(missing)}" if missing else None

    def _why_not_device(self, device: torch.device) -> str | None:
        if self.devices is not None and device.type not in self.devices:
            return f"needs a {' or '.join(self.devices)} device, the tensors are on {device.type}"
        if device.type != "cuda" or self.capability is None:
            return None
        if torch.version.hip is not None:
            return "is made for NVIDIA GPUs, this is an AMD one"
        found = torch.cuda.get_device_capability(device)
        if found < self.capability:
            return (f"needs compute capability {_dotted(self.capability)}, "
                    f"this GPU has {_dotted(found)}")
        return None


@dataclass(frozen=True, eq=False)
class Backend:
    """One implementation.

    Attributes:
        name: "triton", "torch" or "reference". "reference" serves only when asked for by name;
            "triton" also needs Triton, and on other devices than its own its interpreter.
        load: imports the implementation and returns it.
    """

    name: str
    load: Callable[[], Callable[..., Any]]
    constraints: Constraints = field(default_factory=Constraints)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The implementation, imported at the first use."""
        return self.load()

    def why_not(self, call: Call, size_name: str = "size", by_name: bool = True) -> str | None:
        """None when this backend can serve ``call``, else the reason in words.

        Args:
            by_name: whether it was asked for by name.
        """
        if self.name == "reference" and not by_name:
            return "only when asked for by name"
        interpreted = self.name == "triton" and triton_support.interpreting()
        reason = self.constraints.why_not(call, size_name, device_matters=not interpreted)
        if reason is not None or self.name != "triton":
            return reason
        if interpreted and not by_name:
            return "its interpreter (TRITON_INTERPRET=1) is for tests: only when asked for by name"
        return triton_support.why_no_triton()


@dataclass(frozen=True)
class Kernel:
    """One compilation of a Triton kernel, for benchmarks.compile_kernels.

    Attributes:
        label: what tells it from the others of its operation: "bf16 D=128 mean over heads".
        function: the ``@triton.jit`` function.
        signature: every parameter's Triton type in order, such as "*bf16", "i32", "fp32";
            "constexpr" for those in ``constants``. As strides of 1 and None pointers are constants
            to Triton, list them in ``constants`` too.
        constants: values of the constexpr parameters.
        aligned: parameters that are multiples of 16 (pointers: bytes) in real calls.
        options: num_warps, num_stages, ....
        quick: part of the short list that CI compiles.
    """

    label: str
    function: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    aligned: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = True


@dataclass(frozen=True, eq=False)
class Op:
    """An operation and its backends, best first.

    Attributes:
        kernels: the Triton kernels that real calls launch on GPUs of a compute capability, which
            is given as 80, 89, 90, .... Called only where Triton can be imported.
    """

    name: str
    summary: str
    backends: tuple[Backend, ...]
    size_name: str = "head size"
    kernels: Callable[[int], Sequence[Kernel]] | None = None

    def choose(self, call: Call, backend: str = "auto") -> Backend:
        """The backend that serves ``call``. Costs a look-up; never waits for the device.

        Raises:
            ValueError: the backend asked for cannot serve the call, or none can; says why.
        """
        return _choose(self, call, backend)

    def explain(self, call: Call, backend: str = "auto") -> dict[str, str]:
        """For each backend "chosen", or the reason why it is not."""
        try:
            chosen = self.choose(call, backend).name
        except ValueError:
            chosen = None
        why = "comes first" if backend == "auto" else "was asked for"
        return {b.name: "chosen" if b.name == chosen
                else b.why_not(call, self.size_name, by_name=False) or f"available, {chosen} {why}"
                for b in self.backends}


@lru_cache(maxsize=1024)
def _choose(op: Op, call: Call, name: str) -> Backend:
    reasons = []
    for backend in op.backends:
        if name not in ("auto", backend.name):
            continue
        reason = backend.why_not(call, op.size_name, by_name=name != "auto")
        if reason is None:
            return backend
        reasons.append(f"{backend.name} {reason}")
    if not reasons:
        known = ", ".join(["auto", *(b.name for b in op.backends)])
        raise ValueError(f"{op.name}: unknown backend {name!r}; expected one of {known}")
    raise ValueError(f"{op.name}: no backend can serve this call: {'; '.join(reasons)}"
                     if name == "auto" else f"{op.name}: backend {reasons[0]}")


_OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Add an operation to the list that ``all_ops`` gives; returns it."""
    names = [b.name for b in op.backends]
    if len(set(names)) != len(names):
        raise ValueError(f"{op.name}: backends named twice in {names}")
    _OPS[op.name] = op
    return op


def all_ops() -> tuple[Op, ...]:
    """Every registered operation of this package, by name. Imports their folders, no kernels."""
    parent = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(parent).__path__):
        if module.ispkg:
            importlib.import_module(f"{parent}.{module.name}")
    return tuple(op for _, op in sorted(_OPS.items()))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _names(dtypes: frozenset[torch.dtype]) -> str:
    return ", ".join(sorted(map(_name, dtypes)))


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
