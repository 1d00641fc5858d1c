"""Weights of a run as a few small fp16 files, to be carried, continued from or exported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.data.files import replacing

SHARD_BYTES = 15 * 2**20
_PATTERN = "weights-*-of-*.safetensors"


def write_bundle(
    folder: Path, tensors: Mapping[str, Tensor], info: dict[str, Any]
) -> list[Path]:
    """Write ``tensors`` in fp16 and ``info`` (JSON values) into ``folder``, replacing a bundle."""
    half = {n: t.detach().to("cpu", torch.float16).contiguous() for n, t in tensors.items()}
    bad = [name for name, tensor in half.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ValueError(f"not finite in fp16: {', '.join(bad[:5])}")
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in half.items():
        size = tensor.numel() * tensor.element_size()
        if used and used + size > SHARD_BYTES:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += size
    paths = []
    for number, shard in enumerate(shards, start=1):
        path = folder / f"weights-{number}-of-{len(shards)}.safetensors"
        with replacing(path) as temporary:
            save_file(shard, str(temporary), {"info": json.dumps(info)})
        paths.append(path)
    for old in folder.glob(_PATTERN):
        if old not in paths:
            old.unlink()
    return paths


def read_bundle(folder: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float32) and info of a bundle."""
    folder = Path(folder)
    paths = sorted(folder.glob(_PATTERN))
    if not paths:
        raise FileNotFoundError(f"no {_PATTERN} in {folder}")
    total = int(paths[0].stem.rsplit("-", 1)[1])
    if len(paths) != total:
        raise FileNotFoundError(f"{folder} holds {len(paths)} of {total} weight files")
    tensors: dict[str, Tensor] = {}
    info: dict[str, Any] = {}
    for path in paths:
        with safe_open(str(path), framework="pt") as file:
            info = json.loads((file.metadata() or {})["info"])
            for name in file.keys():  # noqa: SIM118  # not a dict
                tensors[name] = file.get_tensor(name).float()
    return tensors, info


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under ``prefix.``, without it."""
    found = {n[len(prefix) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
    if not found:
        raise KeyError(f"nothing under {prefix!r}")
    return found
