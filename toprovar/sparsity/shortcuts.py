"""Linear shortcuts through a model's first layers, fitted to it once.

At a scale, what the first layers do to the residual stream differs little from what they did at
the scale before. A shortcut of ``n`` layers predicts the residual after them,

    x_n(s) = A x_0(s) + B up(x_n(s - 1)) + c,

from the scale's own input and the residual at the same depth of the latest scale that was run,
brought to the new grid. A, B and c come from least squares over runs of the model
(``analysis.shortcut_fit``), one set for each depth, for all scales and sizes alike. After the idea
of short-cutting transformers by linear maps (Din et al., arXiv 2303.09435), here across scales.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from ..files import calibration_folders, replace_file
from ..models.config import TransformerConfig

FORMAT, VERSION = "toprovar-shortcuts", "1"
MOST_BYTES = 8 << 30


class Shortcuts:
    """The maps of one model.

    Args:
        model: fingerprint of the transformer.
        maps: for each number of layers left out, weight [C, 2 C] and bias [C].
        about: how they were made, for the reader: names and values that JSON knows.

    Attributes:
        identity: 16 hexadecimal digits of a SHA-256 over the maps; a plan names it.
    """

    def __init__(self, model: str, maps: Mapping[int, tuple[Tensor, Tensor]],
                 about: Mapping[str, Any] | None = None) -> None:
        self.model, self.about = model, dict(about or {})
        self.maps = {n: (weight.half().contiguous(), bias.float().contiguous())
                     for n, (weight, bias) in sorted(maps.items())}
        digest = hashlib.sha256(model.encode())
        for n, (weight, bias) in self.maps.items():
            if n < 1 or weight.ndim != 2 or weight.shape[1] != 2 * weight.shape[0] \
                    or bias.shape != weight.shape[:1]:
                raise ValueError(f"the shortcut of {n} layers has shapes {tuple(weight.shape)} and "
                                 f"{tuple(bias.shape)}, expected [C, 2 C] and [C]")
            if not (weight.isfinite().all() and bias.isfinite().all()):
                raise ValueError(f"the shortcut of {n} layers holds numbers that are not finite")
            digest.update(f"{n} {tuple(weight.shape)}".encode())
            digest.update(weight.cpu().numpy().astype("<f2").tobytes())
            digest.update(bias.cpu().numpy().astype("<f4").tobytes())
        self.identity = digest.hexdigest()[:16]
        self._placed: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of layers that can be left out, ascending."""
        return tuple(self.maps)

    def check_fits(self, shape: TransformerConfig, wanted: set[int], fingerprint: str) -> None:
        """Refuse another model, or lengths that were not fitted."""
        if self.model != fingerprint:
            raise ValueError(f"the shortcuts are of the model {self.model}, this one is "
                             f"{fingerprint}: make a plan for this model")
        if not wanted <= set(self.maps):
            raise ValueError(f"the plan's shortcuts leave out {sorted(wanted)} layers, fitted were "
                             f"{list(self.maps)}")
        width = next(iter(self.maps.values()))[0].shape[0]
        if width != shape.width:
            raise ValueError(f"the shortcuts are of a model of width {width}, this one has "
                             f"{shape.width}")

    def at(self, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weight and bias of ``dtype`` on ``device``: the same tensors at every call."""
        key = (length, device, dtype)
        if key not in self._placed:
            weight, bias = self.maps[length]
            self._placed[key] = weight.to(device, dtype), bias.to(device, dtype)
        return self._placed[key]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; it is whole or absent."""
        tensors = {}
        for n, (weight, bias) in self.maps.items():
            tensors |= {f"{n}.weight": weight.cpu(), f"{n}.bias": bias.cpu()}
        replace_file(path, save(tensors, {
            "format": FORMAT, "version": VERSION, "model": self.model, "identity": self.identity,
            "about": json.dumps(self.about),
        }))

    @classmethod
    def load(cls, path: str | Path) -> Shortcuts:
        """Read and check a file; a ValueError names what is wrong with it."""
        path = Path(path)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is larger than any shortcuts are")
            with safetensors.safe_open(path, "pt") as file:
                head = file.metadata() or {}
                if head.get("format") != FORMAT:
                    raise ValueError("its head does not say so")
                if head.get("version") != VERSION:
                    raise ValueError(f"version {head.get('version')!r}, this program reads "
                                     f"{VERSION!r}")
                names = set(file.keys())
                lengths = sorted(int(n.partition(".")[0]) for n in names if n.endswith(".weight"))
                if not lengths or names != {f"{n}.{p}" for n in lengths for p in ("weight", "bias")
                                            }:
                    raise ValueError(f"unexpected tensors: {', '.join(sorted(names)[:4])}")
                maps = {n: (file.get_tensor(f"{n}.weight"), file.get_tensor(f"{n}.bias"))
                        for n in lengths}
            found = cls(head.get("model", ""), maps, json.loads(head.get("about", "{}")))
            if found.identity != head.get("identity"):
                raise ValueError("its numbers are not those that were written: get it anew")
        except (safetensors.SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: not a usable file of shortcuts: {error}; make one with "
                             "'toprovar analyze --calibrate FILE'") from None
        return found


def predict(x: Tensor, before: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The residual after the layers left out.

    Args:
        x: [R, N, C] input of the scale; before: [R, N, C] residual at that depth of an earlier
            scale, on this scale's grid.

    Returns:
        [R, N, C] of the weight's dtype.
    """
    return F.linear(torch.cat([x.to(weight.dtype), before.to(weight.dtype)], -1), weight, bias)


_REGISTERED: dict[str, Shortcuts] = {}


def register_shortcuts(shortcuts: Shortcuts) -> None:
    """Let plans of this process that name them find them."""
    _REGISTERED[shortcuts.identity] = shortcuts


def find_shortcuts(identity: str) -> Shortcuts:
    """The maps that a plan names: registered before, in the box, or in the user's folder.

    Raises:
        ValueError: they are nowhere.
    """
    if identity in _REGISTERED:
        return _REGISTERED[identity]
    folders = calibration_folders()
    for path in (p for folder in folders for p in sorted(folder.glob("*.safetensors"))):
        if _identity_of(path) == identity:
            return _loaded(path, path.stat().st_mtime_ns)
    raise ValueError(
        f"the plan uses the shortcuts {identity}, which are not at hand: put the safetensors file "
        f"that lay beside its calibration into {folders[-1]}, or make a plan of your own"
    )


def _identity_of(path: Path) -> str | None:
    """What a file says of itself; None if it is no file of shortcuts, or gone."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("identity")
    except (OSError, safetensors.SafetensorError):
        return None


@lru_cache(maxsize=8)
def _loaded(path: Path, changed: int) -> Shortcuts:
    return Shortcuts.load(path)
