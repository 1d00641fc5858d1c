"""The entropies of one run or several, as a value: collected by the sampler, saved and loaded."""

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
from ..schedules import ScaleSchedule

VERSION = 1
Place = tuple[int, int]
"""(scale, layer)"""


class TraceRecorder:
    """Takes the entropies that a run measures.

    Args:
        scales, layers: what to measure; None = all.
        heads: keep the heads apart.
    """

    def __init__(self, scales: Iterable[int] | None = None, layers: Iterable[int] | None = None,
                 heads: bool = False) -> None:
        self.scales = None if scales is None else frozenset(scales)
        self.layers = None if layers is None else frozenset(layers)
        self.heads = heads
        self.maps: dict[Place, Tensor] = {}

    def wants(self, scale: int, layer: int) -> bool:
        """Whether this (scale, layer) is to be measured."""
        return ((self.scales is None or scale in self.scales)
                and (self.layers is None or layer in self.layers))

    def record(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        """Take one map; it is copied and stays on its device until :meth:`trace`.

        Args:
            grid: (h, w) of the scale, h w = N.
            entropy: [B, N] of the conditional rows, mean over heads; [B, H, N] where ``heads``.
        """
        dims = 3 if self.heads else 2
        if entropy.ndim != dims or entropy.shape[-1] != grid[0] * grid[1]:
            raise ValueError(
                f"scale {scale}, layer {layer}: entropy must be [B, {'H, ' if self.heads else ''}"
                f"{grid[0] * grid[1]}], got {tuple(entropy.shape)}"
            )
        if (scale, layer) in self.maps:
            raise ValueError(f"scale {scale}, layer {layer} is recorded already: use a new "
                             "recorder for every run")
        self.maps[scale, layer] = entropy.detach().float().clone().unflatten(-1, grid)

    def trace(
        self,
        schedule: ScaleSchedule,
        depth: int,
        *,
        kept: Sequence[Sequence[int]] | None = None,
        prompts: Sequence[str] = (),
        seeds: Sequence[int] = (),
        model: str = "",
        params: Mapping[str, Any] | None = None,
        edits: bool = False,
    ) -> EntropyTrace:
        """What was recorded, on the CPU.

        Args:
            depth: layers of the model.
            kept: tokens processed, [scale][layer]; None = all. From it follow the keys that a
                query sees.
            prompts, seeds: one for each image, where known.
            model: fingerprint.
            params: of the sampling.
            edits: whether queries see a source picture's keys as well, in the first layer those of
                its average at the scale's grid (``sampling.source_cache``).
        """
        if not self.maps:
            raise ValueError("nothing was recorded: the run measured none of the scales and "
                             "layers asked for")
        counts = kept or [[n] * depth for n in schedule.tokens]
        tokens = schedule.tokens
        keys = {
            (scale, layer): sum(counts[s][layer] for s in range(scale + 1))
            + (tokens[-1 if layer else scale] if edits else 0)
            for scale, layer in self.maps
        }
        about = TraceInfo(
            depth=depth, schedule=schedule.to_json(), grids=schedule.grids, heads=self.heads,
            prompts=tuple(prompts), seeds=tuple(seeds), model=model,
            # As JSON gives it back: no tuples.
            params=json.loads(json.dumps(dict(params or {}))),
            versions=versions(),
        )
        return EntropyTrace({p: m.cpu() for p, m in self.maps.items()}, keys, about)


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
    """Entropy maps of B images.

    Attributes:
        maps: (scale, layer) -> [B, h, w], or [B, H, h, w] where ``about.heads``; float32, nats,
            on the CPU. NaN = a token that a sparse run never measured. Not to be changed.
        keys: (scale, layer) -> keys that each query saw, M; log M is the entropy's upper bound.
        about: the run.
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
        return next(iter(self.maps.values())).shape[0]

    @property
    def scales(self) -> tuple[int, ...]:
        """Scales with at least one map."""
        return tuple(sorted({s for s, _ in self._places}))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with at least one map."""
        return tuple(sorted({layer for _, layer in self._places}))

    def layers_at(self, scale: int) -> tuple[int, ...]:
        """Layers that have a map of this scale."""
        return tuple(layer for s, layer in self._places if s == scale)

    def map(self, scale: int, layer: int) -> Tensor:
        """[B, h, w], mean over heads."""
        try:
            entropy = self.maps[scale, layer]
        except KeyError:
            raise ValueError(f"scale {scale}, layer {layer} was not recorded; scales "
                             f"{list(self.scales)}, layers {list(self.layers)} were") from None
        return entropy.mean(1) if self.about.heads else entropy

    def stack(self, scale: int, layers: Sequence[int] | None = None) -> Tensor:
        """[B, L, h, w] of the layers given, or of all that were recorded at this scale."""
        return torch.stack([self.map(scale, n) for n in layers or self.layers_at(scale)], 1)

    def mean_over(self, scales: Iterable[int] | None = None, layers: Iterable[int] | None = None
                  ) -> Tensor:
        """[B] float64, mean over the tokens of all maps of these scales and layers."""
        scales = self.scales if scales is None else set(scales)
        layers = self.layers if layers is None else set(layers)
        found = [self.map(*p).double().flatten(1) for p in self._places
                 if p[0] in scales and p[1] in layers]
        if not found:
            raise ValueError(f"no map of scales {sorted(scales)}, layers {sorted(layers)}")
        return torch.cat(found, 1).mean(1)

    def relative(self, scale: int, layer: int) -> Tensor:
        """[B, h, w], H / log M in [0, 1]; zeros where there is one key."""
        return self.map(scale, layer) / max(math.log(self.keys[scale, layer]), 1e-30)

    @staticmethod
    def join(traces: Sequence[EntropyTrace]) -> EntropyTrace:
        """One trace of all images. The runs must have measured the same."""
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
        """One safetensors file: maps as "entropy.SCALE.LAYER", all else as JSON in its header."""
        header = {"about": self.about.model_dump(mode="json"),
                  "keys": {f"{s}.{n}": count for (s, n), count in self.keys.items()}}
        tensors = {f"entropy.{s}.{n}": m.contiguous() for (s, n), m in self.maps.items()}
        replace_file(path, save(tensors, {"format": "pt", "toprovar": json.dumps(header)}))

    @staticmethod
    def load(path: str | Path) -> EntropyTrace:
        """Read what :meth:`save` wrote; a ValueError that names the file and the fault if it is
        anything else."""
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
