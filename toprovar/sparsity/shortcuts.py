"""Linear shortcuts through a model's first layers, fitted to it once.

At a scale, what the first layers do to the residual stream differs little from what they did at
the scale before. A shortcut of ``n`` layers predicts the residual after them,

    x_n(s) = up(x_n(s')) + U V z + c,

from the residual at the same depth of the latest scale s' that was run, brought to the new grid,
and what a token sees around itself (z, ``shortcut_inputs``). U, V and c come from least squares
over runs of the model (``analysis.shortcut_fit``), one set for every pair of scales and depth:
scales of one number are alike at all sizes of pictures. After the idea of short-cutting
transformers by linear maps (Din et al., arXiv 2303.09435), here across scales.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..files import calibration_folders
from ..models.config import TransformerConfig
from ..ops.resize_tokens import resize_tokens
from ..printable import one_line
from ..reading import reading
from .linear_shortcut import LinearShortcut
from .shortcut_file import (
    Content,
    identity_of,
    read_file,
    tensors_of,
    told_identity,
    version_of,
    write_file,
)
from .shortcut_inputs import Grid, Sizes, shortcut_inputs
from .shortcut_maps import ShortcutMap, as_kept, as_linear, check_map

logger = logging.getLogger(__name__)

CODES = 0
"""In place of a number of layers: the directions of a scale's input."""


class Placed(NamedTuple):
    """All that one shortcut takes, on a device: directions [C, d] of inputs and [C, k] of
    residuals."""

    codes: Tensor
    directions: Tensor
    down: Tensor
    up: Tensor
    bias: Tensor


class Shortcuts:
    """The maps of one model.

    Args:
        model: fingerprint of the transformer.
        directions: [C, k] of the residual after each number of layers, and of a scale's input
            (``CODES``: to its codes, up to a constant).
        maps: for every shortcut, all of 8 bits or none.
        about: how they were made, for the reader: names and values that JSON knows.

    Attributes:
        identity: 16 hexadecimal digits of a SHA-256 over all numbers; a plan names it.
    """

    def __init__(self, model: str, directions: Mapping[int, Tensor],
                 maps: Mapping[LinearShortcut, ShortcutMap],
                 about: Mapping[str, Any] | None = None) -> None:
        self.model, self.about = model, dict(about or {})
        self.directions = {n: x.half().contiguous() for n, x in sorted(directions.items())}
        self.maps = {shortcut: as_kept(found) for shortcut, found in sorted(maps.items())}
        self.identity = identity_of(model, tensors_of(self.directions, self.maps))
        self._check_shapes()
        self._placed: dict[tuple[LinearShortcut, torch.device, torch.dtype], Placed] = {}
        self._seen: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    @property
    def width(self) -> int:
        """C."""
        return next(iter(self.maps.values())).bias.shape[0]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of layers that can be left out, ascending."""
        return tuple(sorted({shortcut.length for shortcut in self.maps}))

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers, as they are stored."""
        return self.bytes_of(self.maps)

    def bytes_of(self, wanted: Iterable[LinearShortcut]) -> int:
        """Of what is needed for ``wanted``."""
        return sum(x.nbytes for x in tensors_of(*self._needed(wanted)).values())

    def only(self, wanted: Iterable[LinearShortcut]) -> Shortcuts:
        """Those that are needed for ``wanted``."""
        directions, kept = self._needed(wanted)
        told = self.about.get("explained", {})
        about = self.about | {"explained": {name: told[name] for name in map(str, sorted(kept))
                                            if name in told}}
        return Shortcuts(self.model, directions, kept, about)

    def check_fits(self, shape: TransformerConfig, wanted: Iterable[LinearShortcut],
                   fingerprint: str) -> None:
        """Refuse another model, or shortcuts that were not fitted."""
        if self.model != fingerprint:
            raise ValueError(f"the shortcuts are of the model {one_line(self.model)}, this one is "
                             f"{fingerprint}: make a plan for this model")
        missing = sorted(set(wanted) - set(self.maps))
        if missing:
            raise ValueError(f"the plan has a shortcut {missing[0]}, which is not among the "
                             f"{len(self.maps)} that were fitted: make a plan from the "
                             "calibration that they came with")
        if self.width != shape.width:
            raise ValueError(f"the shortcuts are of a model of width {self.width}, this one has "
                             f"{shape.width}")

    def at(self, shortcut: LinearShortcut, device: torch.device, dtype: torch.dtype) -> Placed:
        """What a shortcut takes, of ``dtype`` on ``device``: the same tensors at every call."""
        key = (shortcut, device, dtype)
        if key not in self._placed:
            found = self.maps[shortcut]
            own = as_linear(type(found)(*(x.to(device) for x in found)))
            self._placed[key] = Placed(*(self._directions_at(n, device, dtype)
                                         for n in (CODES, shortcut.length)),
                                       *(x.to(dtype) for x in own))
        return self._placed[key]

    def _directions_at(self, n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        key = (n, device, dtype)
        if key not in self._seen:
            self._seen[key] = self.directions[n].to(device, dtype)
        return self._seen[key]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; it is whole or absent."""
        write_file(path, Content(self.model, self.identity, self.directions, self.maps,
                                 self.about))

    @classmethod
    def load(cls, path: str | Path) -> Shortcuts:
        """Read and check a file; a ValueError names what is wrong with it."""
        with reading(path, "file of shortcuts", "make one with 'toprovar analyze --calibrate "
                     "FILE'"):
            content = read_file(path)
            found = cls(content.model, content.directions, content.maps, content.about)
            if found.identity != content.identity:
                raise ValueError("its numbers are not those that were written: get it anew")
        return found

    def _needed(self, wanted: Iterable[LinearShortcut]
                ) -> tuple[dict[int, Tensor], dict[LinearShortcut, ShortcutMap]]:
        """Directions and maps of ``wanted``."""
        kept = {shortcut: self.maps[shortcut] for shortcut in wanted}
        needed = {CODES, *(shortcut.length for shortcut in kept)}
        return {n: x for n, x in self.directions.items() if n in needed}, kept

    def _check_shapes(self) -> None:
        version_of(self.maps)
        width = self.width
        for n, x in self.directions.items():
            if x.ndim != 2 or x.shape[0] != width or not 0 < x.shape[1] <= width:
                raise ValueError(f"directions.{n} has shape {tuple(x.shape)}, expected "
                                 f"[{width}, up to {width}]")
        for shortcut, found in self.maps.items():
            if not 0 <= shortcut.source < shortcut.scale or shortcut.length < 1:
                raise ValueError(f"there is no shortcut like {shortcut}")
            if not {CODES, shortcut.length} <= set(self.directions):
                raise ValueError(f"directions for {shortcut} are missing")
            sizes = Sizes.seen(width, *(self.directions[n].shape[1]
                                        for n in (CODES, shortcut.length)), rank=1)
            check_map(str(shortcut), found, width, sizes.inputs)


def predict(x: Tensor, before_input: Tensor, before: Tensor, old_grid: Grid, grid: Grid,
            placed: Placed) -> Tensor:
    """The residual after the layers left out.

    Args:
        x: [R, N, C] input of the scale, on ``grid``; before_input, before: [R, M, C] input, and
            residual at that depth, of an earlier scale, on ``old_grid``.

    Returns:
        [R, N, C] of the maps' dtype.
    """
    dtype = placed.bias.dtype
    here = resize_tokens(before.to(dtype), old_grid, grid)
    inputs = shortcut_inputs(x.to(dtype), resize_tokens(before_input.to(dtype), old_grid, grid),
                             here, grid, placed.codes, placed.directions)
    down, up = (factor.expand(len(x), -1, -1) for factor in (placed.down, placed.up))
    added = torch.baddbmm(placed.bias[:, None], up, torch.bmm(down, inputs))
    return here + added.transpose(1, 2)


_REGISTERED: dict[str, Shortcuts] = {}


def register_shortcuts(shortcuts: Shortcuts) -> None:
    """Let plans of this process that name them find them."""
    _REGISTERED[shortcuts.identity] = shortcuts


def find_shortcuts(identity: str) -> Shortcuts:
    """The maps that a plan names: registered before, in the box, the user's folder, or one that
    was added.

    Raises:
        ValueError: they are nowhere.
    """
    if identity in _REGISTERED:
        return _REGISTERED[identity]
    folders = calibration_folders()
    for path in (p for folder in folders for p in sorted(folder.glob("*.safetensors"))):
        if told_identity(path) == identity:
            try:
                return _loaded(path, path.stat().st_mtime_ns)
            except (OSError, ValueError) as error:  # perhaps another folder has them whole
                logger.warning("a file is passed over: %s", error)
    raise ValueError(
        f"the plan uses the shortcuts {one_line(identity)}, which are not at hand: put the "
        f"safetensors file that lay beside its calibration into {folders[-1]}, or make a "
        "plan of your own"
    )


@lru_cache(maxsize=8)
def _loaded(path: Path, changed: int) -> Shortcuts:
    return Shortcuts.load(path)
