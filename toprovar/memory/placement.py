"""Where things are, and what is foreseen of that: the values that memory plans are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from .request import told


@dataclass(frozen=True)
class Speed:
    """What a device does in a second, roughly.

    Attributes:
        flops: in large products of the blocks' dtype; memory: bytes read from its own memory;
            bus: bytes from page-locked host memory.
        overhead: bytes that the libraries take for themselves.
    """

    flops: float
    memory: float
    bus: float
    overhead: int = 0


@dataclass(frozen=True)
class Placement:
    """Where weights and keys are, how many pictures are drawn at once, and in which numbers.

    Attributes:
        images: drawn in one run.
        streamed: blocks of the transformer that wait in host memory.
        hosted: layers whose keys and values do.
        text: blocks of the text encoder that do.
        lent: blocks of the transformer whose memory the decoder gets, once a picture.
        tile: latent pixels of a decoder's tile; None = whole pictures.
        narrow_cache, narrow_weights: whether they are kept in 8 bits by choice of the plan.
        record_decoder: whether there is room for the decoder's recorded graph.
    """

    images: int = 1
    streamed: int = 0
    hosted: int = 0
    text: int = 0
    lent: int = 0
    tile: int | None = None
    narrow_cache: bool = False
    narrow_weights: bool = False
    record_decoder: bool = True


class Peaks(NamedTuple):
    """Most bytes allocated at once while prompts are encoded, scales run, pictures decoded."""

    text: int
    scales: int
    picture: int


Stage = Literal["text", "scales", "picture"]


@dataclass(frozen=True)
class MemoryPlan:
    """A placement, and what is foreseen of it.

    Attributes:
        peaks: of its stages, with what libraries take; host: bytes in page-locked host memory.
        available: bytes that may be used.
        seconds: of a picture, roughly: for comparing plans.
        fits: whether the peaks are within what may be used; if not, no placement was.
    """

    placement: Placement
    peaks: Peaks
    host: int
    available: int
    seconds: float
    fits: bool = True

    @property
    def peak(self) -> int:
        """Most bytes allocated on the device at once."""
        return max(self.peaks)

    def __str__(self) -> str:
        own, parts = self.placement, []
        if own.text:
            parts.append("the text encoder comes block by block")
        if own.hosted:
            parts.append(f"the cache of {own.hosted} layers waits in host memory")
        if own.streamed:
            parts.append(f"{own.streamed} blocks are streamed from host memory")
        if own.lent:
            parts.append(f"{own.lent} blocks make room for the decoder")
        if own.narrow_cache:
            parts.append("8-bit KV cache")
        if own.narrow_weights:
            parts.append("8-bit weights")
        if own.tile:
            parts.append(f"decoded in tiles of {own.tile} latent pixels")
        how = ", ".join(parts) or "everything stays on the device"
        end = "" if self.fits else ": more than there is"
        return f"{told(self.peak)} expected of {told(self.available)} available{end}; {how}"


@dataclass(frozen=True)
class Fixed:
    """What a plan may not change: None = it may.

    Attributes:
        streamed, text: blocks that are streamed already, by somebody else's choice.
        lends: whether blocks may make room for the decoder.
    """

    streamed: int | None = None
    text: int | None = None
    lends: bool = True


FREE = Fixed()
NONE: Mapping[Stage, int] = MappingProxyType({})
