"""The file of a model's linear shortcuts: safetensors, whose head says what it is.

Version "2" holds maps of 16 bits, version "3" maps of 8; both have the directions in float16:
``directions.N`` [C, k] of a number of layers, and ``S-T-N.PART`` for each part of the map from
scale S to scale T past N layers (``shortcut_maps``). The identity is a SHA-256 over all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from ..files import replace_file
from ..reading import parse_json
from .linear_shortcut import LinearShortcut
from .shortcut_maps import LinearMap, QuantizedMap, ShortcutMap

FORMAT = "toprovar-shortcuts"
KINDS: dict[str, type[LinearMap] | type[QuantizedMap]] = {"2": LinearMap, "3": QuantizedMap}
"""What the maps of each version are."""
MOST_BYTES = 8 << 30
_WRITTEN = {torch.float16: "<f2", torch.float32: "<f4", torch.int8: "i1"}


class Content(NamedTuple):
    """What a file says."""

    model: str
    identity: str | None
    directions: dict[int, Tensor]
    maps: dict[LinearShortcut, ShortcutMap]
    about: Any


def version_of(maps: Mapping[LinearShortcut, ShortcutMap]) -> str:
    """Which version holds such maps; a ValueError if none does."""
    kinds = {type(found) for found in maps.values()}
    if not kinds:
        raise ValueError("there are no shortcuts in it")
    if len(kinds) > 1:
        raise ValueError("some of the maps are of 8 bits and some are not")
    return next(version for version, kind in KINDS.items() if kind in kinds)


def tensors_of(directions: Mapping[int, Tensor], maps: Mapping[LinearShortcut, ShortcutMap]
               ) -> dict[str, Tensor]:
    """All tensors by their names in the file."""
    named = {f"directions.{n}": x for n, x in directions.items()}
    for shortcut, found in maps.items():
        named |= {f"{shortcut}.{part}": x for part, x in found._asdict().items()}
    return named


def identity_of(model: str, tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of a SHA-256 over all numbers, which must be finite."""
    digest = hashlib.sha256(model.encode())
    for name, tensor in tensors.items():
        if tensor.dtype not in _WRITTEN:
            raise ValueError(f"{name} is of {tensor.dtype}, which no shortcuts are")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().astype(_WRITTEN[tensor.dtype], copy=False).tobytes())
    return digest.hexdigest()[:16]


def write_file(path: str | Path, content: Content) -> None:
    """Write a file; it is whole or absent."""
    tensors = tensors_of(content.directions, content.maps)
    replace_file(path, save({n: x.cpu() for n, x in tensors.items()}, {
        "format": FORMAT, "version": version_of(content.maps), "model": content.model,
        "identity": content.identity or "", "about": json.dumps(content.about),
    }))


def read_file(path: str | Path) -> Content:
    """What a file says, of which only the form is checked."""
    if Path(path).stat().st_size > MOST_BYTES:
        raise ValueError("it is larger than any shortcuts are")
    with safetensors.safe_open(path, "pt") as file:
        head = file.metadata() or {}
        if head.get("format") != FORMAT:
            raise ValueError("its head does not say so")
        version = head.get("version", "")
        if version not in KINDS:
            raise ValueError(f"version {head.get('version')!r}, this program reads "
                             f"{' and '.join(map(repr, KINDS))}")
        tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
    return Content(head.get("model", ""), head.get("identity"),
                   *_sorted_out(tensors, KINDS[version]), parse_json(head.get("about", "{}")))


def told_identity(path: Path) -> str | None:
    """What a file says of itself; None if it is no file of shortcuts, or gone."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("identity")
    except (OSError, safetensors.SafetensorError):
        return None


def _sorted_out(tensors: Mapping[str, Tensor], kind: type[LinearMap] | type[QuantizedMap]
                ) -> tuple[dict[int, Tensor], dict[LinearShortcut, ShortcutMap]]:
    """Directions and maps of a file's tensors."""
    directions: dict[int, Tensor] = {}
    parts: dict[LinearShortcut, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, second = name.partition(".")
        try:
            if first == "directions":
                directions[int(second)] = tensor
            else:
                source, scale, length = map(int, first.split("-"))
                parts.setdefault(LinearShortcut(source, scale, length), {})[second] = tensor
        except ValueError:
            raise ValueError(f"unexpected tensor {name}") from None
    for shortcut, own in parts.items():
        if set(own) != set(kind._fields):
            raise ValueError(f"{shortcut} consists of {', '.join(sorted(own))}, expected "
                             f"{', '.join(kind._fields)}")
    return directions, {shortcut: kind(**own) for shortcut, own in parts.items()}
