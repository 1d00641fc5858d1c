"""Writes tensors to files one at a time, so that a model larger than memory passes through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .sources import SAFETENSORS_DTYPES

DEFAULT_SHARD_BYTES = 5_000_000_000
_DTYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
_ALIGNMENT = 8


@dataclass(frozen=True)
class Entry:
    """A tensor to be written; ``read`` gets it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


OnBytes = Callable[[int], None]
"""Called with the size of each tensor once it is written."""


def write_safetensors(path: Path, entries: Sequence[Entry], on_bytes: OnBytes) -> None:
    """One safetensors file; the data lies in the order of ``entries``."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    # Wide types first keeps every tensor aligned to its own type.
    entries = sorted(entries, key=lambda e: -e.dtype.itemsize)
    offset = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": _DTYPE_NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.nbytes],
        }
        offset += entry.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for entry in entries:
            tensor = entry.read().contiguous().reshape(-1)
            file.write(tensor.view(torch.uint8).numpy().data)
            on_bytes(entry.nbytes)


def write_sharded(
    folder: Path, stem: str, entries: Sequence[Entry], max_bytes: int, on_bytes: OnBytes
) -> None:
    """``stem``.safetensors, or numbered shards of at most ``max_bytes`` (a larger single tensor
    gets its own) and ``stem``.safetensors.index.json."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(entries, max_bytes)
    if len(shards) == 1:
        write_safetensors(folder / f"{stem}.safetensors", entries, on_bytes)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / name, shard, on_bytes)
        weight_map.update((entry.name, name) for entry in shard)
    index = {
        "metadata": {"total_size": sum(e.nbytes for e in entries)},
        "weight_map": dict(sorted(weight_map.items())),
    }
    write_json(folder / f"{stem}.safetensors.index.json", index)


def plan_shards(entries: Iterable[Entry], max_bytes: int) -> list[list[Entry]]:
    """Consecutive groups of at most ``max_bytes`` each, or of one larger tensor."""
    if max_bytes < 1:
        raise ValueError(f"the size of a shard must be positive, got {max_bytes}")
    shards: list[list[Entry]] = [[]]
    used = 0
    for entry in entries:
        if shards[-1] and used + entry.nbytes > max_bytes:
            shards.append([])
            used = 0
        shards[-1].append(entry)
        used += entry.nbytes
    return shards


def write_torch(
    path: Path, entries: Sequence[Entry], container: str | None, on_bytes: OnBytes
) -> None:
    """One ``torch.save`` file of a flat dictionary, or of that under the name ``container``."""
    state: dict[str, Any] = {}
    for entry in entries:
        tensor = entry.read().contiguous()
        if tensor.untyped_storage().nbytes() != entry.nbytes:
            tensor = tensor.clone()  # the whole storage is written, not the view alone
        state[entry.name] = tensor
    torch.save({container: state} if container else state, path)
    on_bytes(sum(e.nbytes for e in entries))


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
