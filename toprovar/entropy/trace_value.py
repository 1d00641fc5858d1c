"""The entropies of one run or several, as a value that can be saved and loaded."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from .. import __version__
from ..files import replace_file
from ..reading import parse_json, reading

VERSION = 1
Place = tuple[int, int]
"""(scale, layer)"""


def versions() -> dict[str, str]:
    """Of what measures, for the record."""
    return {"toprovar": __version__, "torch": torch.__version__,
            "python": platform.python_version()}


class TraceInfo(BaseModel):
    """What a trace is about.

    Attributes:
        grids: (h, w) of every scale of the run, also of those that were not recorded.
        schedule, params, versions: for the record.
        prompts, seeds: one for each image; empty where unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    depth: int = Field(ge=1, le=10_000)
    grids: tuple[tuple[int, int], ...] = Field(min_length=1, max_length=100)
    heads: bool = False
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    model: str = ""
    schedule: dict[str, Any] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class EntropyTrace:
    """Attention entropies of B images: how widely the attention of each token is spread. 0 = a
    token looks at a single key.

    Attributes:
        maps: (scale, layer) -> [B, h, w] float32 in nats on the CPU; [B, H, h, w] where
            ``about.heads``. NaN = a token that a run with a plan never measured. Do not change the
            tensors.
        keys: (scale, layer) -> M, how many keys a query saw. The largest possible entropy is log M.
        about: a description of the run: model, prompts, seeds, sizes and versions.

    Raises:
        ValueError: maps and description do not go together, or a value is out of range.
    """

    maps: Mapping[Place, Tensor]
    keys: Mapping[Place, int]
    about: TraceInfo
    _places: tuple[Place, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "maps", MappingProxyType(dict(sorted(self.maps.items()))))
        set_(self, "keys", MappingProxyType(dict(self.keys)))
        set_(self, "_places", tuple(self.maps))
        if not self.maps:
            raise ValueError("a trace needs at least one map")
        if self.maps.keys() != self.keys.keys():
            raise ValueError("a trace needs the number of keys of each of its maps, no others")
        leading = {m.shape[:-2] for m in self.maps.values()}
        if len(leading) != 1:
            raise ValueError(f"maps are of different images or heads: {sorted(leading)}")
        if 0 in leading.pop():
            raise ValueError("a trace needs at least one image, and where heads are kept apart one "
                             "head")
        for (scale, layer), entropy in self.maps.items():
            self._check(scale, layer, entropy)
        for name, values in (("prompts", self.about.prompts), ("seeds", self.about.seeds)):
            if values and len(values) != self.images:
                raise ValueError(f"{len(values)} {name} for {self.images} images")

    def _check(self, scale: int, layer: int, entropy: Tensor) -> None:
        where = f"scale {scale}, layer {layer}"
        if not (0 <= scale < len(self.about.grids) and 0 <= layer < self.about.depth):
            raise ValueError(f"{where} is not of this run ({len(self.about.grids)} scales, "
                             f"{self.about.depth} layers)")
        dims = 4 if self.about.heads else 3
        grid = self.about.grids[scale]
        if entropy.ndim != dims or tuple(entropy.shape[-2:]) != grid:
            raise ValueError(f"{where}: expected [B, {'H, ' if self.about.heads else ''}{grid[0]}, "
                             f"{grid[1]}], got {tuple(entropy.shape)}")
        if entropy.dtype != torch.float32:
            raise ValueError(f"{where}: expected float32, got {entropy.dtype}")
        if self.keys[scale, layer] < 1:
            raise ValueError(f"{where}: a query sees at least one key, got "
                             f"{self.keys[scale, layer]}")
        limit = math.log(self.keys[scale, layer]) + 1e-2
        if bool(((entropy < -1e-2) | (entropy > limit)).any()):
            raise ValueError(f"{where}: entropies must lie between 0 and log(keys) = "
                             f"{limit - 1e-2:.4f}, found {float(entropy.min()):.4g} to "
                             f"{float(entropy.max()):.4g}")

    @property
    def images(self) -> int:
        """The number of images, B."""
        return next(iter(self.maps.values())).shape[0]

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that have at least one map."""
        return tuple(sorted({s for s, _ in self._places}))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have at least one map."""
        return tuple(sorted({layer for _, layer in self._places}))

    def layers_at(self, scale: int) -> tuple[int, ...]:
        """The layers that have a map of this scale."""
        return tuple(layer for s, layer in self._places if s == scale)

    def map(self, scale: int, layer: int) -> Tensor:
        """The map of a scale and layer, [B, h, w] float32 in nats, the mean over heads."""
        try:
            entropy = self.maps[scale, layer]
        except KeyError:
            raise ValueError(f"scale {scale}, layer {layer} was not recorded; scales "
                             f"{list(self.scales)}, layers {list(self.layers)} were") from None
        return entropy.mean(1) if self.about.heads else entropy

    def stack(self, scale: int, layers: Sequence[int] | None = None) -> Tensor:
        """The maps of a scale, [B, L, h, w] float32 in nats: of the given layers, or of all that
        were recorded."""
        return torch.stack([self.map(scale, n) for n in layers or self.layers_at(scale)], 1)

    def mean_over(self, scales: Iterable[int] | None = None, layers: Iterable[int] | None = None
                  ) -> Tensor:
        """The mean entropy of each image, [B] float64 in nats, over the tokens of all maps of these
        scales and layers. None = all of them."""
        scales = self.scales if scales is None else set(scales)
        layers = self.layers if layers is None else set(layers)
        found = [self.map(*p).double().flatten(1) for p in self._places
                 if p[0] in scales and p[1] in layers]
        if not found:
            raise ValueError(f"no map of scales {sorted(scales)}, layers {sorted(layers)}")
        return torch.cat(found, 1).mean(1)

    def relative(self, scale: int, layer: int) -> Tensor:
        """A map divided by log M, its largest possible value: [B, h, w] float32 from 0 to 1. Zeros
        where a query sees one key."""
        return self.map(scale, layer) / max(math.log(self.keys[scale, layer]), 1e-30)

    @staticmethod
    def join(traces: Sequence[EntropyTrace]) -> EntropyTrace:
        """One trace of the images of several traces.

        Raises:
            ValueError: the traces are of different models, sizes, parameters or places.
        """
        if not traces:
            raise ValueError("there are no traces to join")
        first = traces[0]
        alike = {"prompts": (), "seeds": ()}
        for other in traces[1:]:
            if (other.about.model_copy(update=alike) != first.about.model_copy(update=alike)
                    or dict(other.keys) != dict(first.keys)):
                raise ValueError("traces of different models, sizes, parameters or places cannot "
                                 "be joined")
        about = first.about.model_copy(update={
            "prompts": tuple(p for t in traces for p in t.about.prompts),
            "seeds": tuple(s for t in traces for s in t.about.seeds),
        })
        maps = {p: torch.cat([t.maps[p] for t in traces]) for p in first.maps}
        return EntropyTrace(maps, first.keys, about)

    def save(self, path: str | Path) -> None:
        """Write the trace as one safetensors file. Its tensors are called "entropy.SCALE.LAYER",
        and its header holds everything else as JSON. The file is complete or absent."""
        header = {"about": self.about.model_dump(mode="json"),
                  "keys": {f"{s}.{n}": count for (s, n), count in self.keys.items()}}
        tensors = {f"entropy.{s}.{n}": m.contiguous() for (s, n), m in self.maps.items()}
        replace_file(path, save(tensors, {"format": "pt", "toprovar": json.dumps(header)}))

    @staticmethod
    def load(path: str | Path) -> EntropyTrace:
        """Read a file that :meth:`save` wrote.

        Raises:
            ValueError: the file is missing, damaged, or no entropy trace; the message names it.
        """
        with reading(path, "entropy trace", "make one with 'toprovar analyze --out DIR'"):
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get("toprovar")
                if text is None:
                    raise ValueError("a safetensors file, but not an entropy trace (its header has "
                                     "no 'toprovar' entry)")
                header = parse_json(text)
                about = TraceInfo.model_validate_json(json.dumps(header["about"]))
                keys = {_place(name): int(count) for name, count in header["keys"].items()}
                maps = {_place(name.removeprefix("entropy.")): file.get_tensor(name).clone()
                        for name in file.keys()}  # noqa: SIM118 - not a dict
            return EntropyTrace(maps, keys, about)


def _place(name: str) -> Place:
    scale, dot, layer = name.partition(".")
    if not (dot and scale.isascii() and scale.isdigit() and layer.isascii() and layer.isdigit()):
        raise ValueError(f"unexpected entry {name!r}")
    return int(scale), int(layer)
