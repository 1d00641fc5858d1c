"""What a run takes on a device beside weights, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..models.fast_decoder import scratch_bytes
from ..ops.fp8 import E4M3
from ..rooms import spread
from ..sampling.bounded_cache import BoundedLayout
from ..sampling.cache import CacheLayout
from ..sampling.device_text import text_room_bytes
from ..sampling.hosted_cache import hosted_sizes
from ..sampling.params import EngineOptions
from ..sampling.scratch import scale_bytes

if TYPE_CHECKING:
    from ..models.autoencoder import InfinityAutoencoder
    from ..models.config import AutoencoderConfig
    from ..models.transformer import InfinityTransformer
    from ..schedules import ScaleSchedule
    from ..sparsity.plan import SparsityPlan

PIECES = 1.3
"""How much more than the decoder's intermediate results holds at once it must have, as these are of
unequal sizes and share one piece of memory."""
FEATURE_MAPS = 6
"""Full-size feature maps of the plain decoder's first width that are held at once, rounded up."""


@dataclass(frozen=True)
class Request:
    """What is asked of a pipeline, as far as memory goes.

    Attributes:
        schedule: the size; images: asked for at once; guided: whether there are unconditional rows.
        plan: which tokens are worked on; None = all, or not known before the run.
        adaptive: whether the plan is made inside the run, which may keep every layer's update.
        options: how it is computed.
        pictures: whether codes are decoded; tile: in tiles of so many latent pixels, None = whole.
        divisible: whether the images may be drawn in several runs.
        recorded: whether scales are recorded as CUDA graphs.
        runs_again: see ``SamplingRun``.
        away: whether there are rows of descriptions to steer away from, too.
        edited: whether a part of another picture is kept, whose codes are summed beside.
    """

    schedule: ScaleSchedule
    images: int
    guided: bool = True
    plan: SparsityPlan | None = None
    adaptive: bool = False
    options: EngineOptions = field(default_factory=EngineOptions)
    pictures: bool = True
    tile: int | None = None
    divisible: bool = True
    recorded: bool = False
    runs_again: bool = False
    away: bool = False
    edited: bool = False

    def rows(self, images: int) -> int:
        return images * (1 + self.guided + self.away)


class Counts:
    """Bytes of one request on one model.

    Args:
        transformer, vae: only their shapes and dtypes are used.
        on_gpu: whether the fast decoder will run.
    """

    def __init__(self, transformer: InfinityTransformer, vae: InfinityAutoencoder,
                 request: Request, on_gpu: bool = True) -> None:
        self.request = request
        self.shape, self.dtype = transformer.shape, transformer.compute_dtype
        self._vae, self._vae_dtype = vae.shape, vae.dtype
        self._on_gpu = on_gpu
        self._known: dict[tuple[int, int, bool], tuple[int, int]] = {}

    def cache(self, images: int, hosted: int = 0, narrow: bool = False) -> tuple[int, int]:
        """The KV cache, on the device and in host memory.

        Args:
            hosted: layers whose keys wait in host memory; narrow: whether it is of 8-bit numbers.
        """
        key = (images, hosted, narrow)
        if key not in self._known:
            self._known[key] = self._cache(*key)
        return self._known[key]

    def _cache(self, images: int, hosted: int, narrow: bool) -> tuple[int, int]:
        own, plan = self.request, self.request.plan
        rows, width = own.rows(images), self.shape.width
        stored = E4M3 if narrow else own.options.cache_dtype or self.dtype
        if plan is not None and plan.compiled.bounded:
            return rows * 2 * BoundedLayout.plan(plan.compiled).size * width * stored.itemsize, 0
        counts = [(n,) * self.shape.depth for n in own.schedule.tokens]
        if not hosted and plan is not None and not own.recorded:
            counts = plan.counts
        if not hosted and not own.runs_again:
            return rows * 2 * CacheLayout.plan(counts).size * width * stored.itemsize, 0
        layers = spread(hosted, self.shape.depth)
        return hosted_sizes(counts, layers, rows, width, stored.itemsize, own.runs_again)

    def text(self, images: int) -> int:
        """What a run derives from its prompts."""
        room = self.shape.text_max_length
        return text_room_bytes(self.shape, self.dtype, self.request.rows(images), room)

    def kept(self, images: int) -> int:
        """What scales leave for later ones: updates and residuals, each in a room of its own."""
        own, plan = self.request, self.request.plan
        rows, width, narrow = own.rows(images), self.shape.width, self.dtype.itemsize
        if plan is None:
            if not own.adaptive:
                return 0
            tokens = own.schedule.tokens
            return self.shape.depth * rows * max(tokens[:-1] or tokens) * width * narrow
        total = 0
        for step in plan.compiled.scales:
            updates = sum((3 if b.by_part else 1) * b.stored for b in step.blocks)
            residuals = step.input_passed_on + sum(b.passed_on for b in step.blocks)
            whole = sum(b.restored for b in step.blocks)
            total += step.plan.tokens * ((updates + residuals) * narrow
                                         + whole * max(0, 4 - narrow))
        return rows * width * total

    def scratch(self, images: int, narrow: bool = False) -> int:
        """Intermediate results of the largest scale that is run."""
        own = self.request
        widened = narrow or own.options.cache_dtype == E4M3
        return scale_bytes(self.shape, self.dtype, own.rows(images), self.largest(),
                           sum(own.schedule.tokens) if widened else 0)

    def codes(self, images: int) -> int:
        """Summed codes, twice, and the turns of all tokens' places."""
        height, width = self.request.schedule.image_size
        latent = images * self.shape.latent_channels * height * width // self._vae.stride**2
        turns = sum(self.request.schedule.tokens) * self.shape.head_dim
        held = images * sum(self.request.schedule.tokens) * self.shape.bits_per_token
        return 4 * ((4 if self.request.edited else 2) * latent + turns) \
            + (held if self.request.edited else 0)

    def picture(self, tile: int | None = None) -> int:
        """Decoding one picture beside the decoder's weights."""
        if not self.request.pictures:
            return 0
        size = self.request.schedule.image_size
        return int(PIECES * picture_bytes_of(self._vae, self._vae_dtype, *size,
                                             tile or self.request.tile, self._on_gpu))

    def largest(self) -> int:
        """Tokens of the largest scale that is run."""
        tokens, plan = self.request.schedule.tokens, self.request.plan
        if plan is None:
            return max(tokens)
        return max(n for n, step in zip(tokens, plan.scales, strict=True) if step.run)


def picture_bytes(autoencoder: InfinityAutoencoder, height: int, width: int,
                  tile: int | None = None) -> int:
    """What decoding or encoding one picture of ``height`` x ``width`` pixels needs.

    Args:
        tile: latent pixels of a tile; None = whole.
    """
    on_gpu = autoencoder.device.type == "cuda"
    return picture_bytes_of(autoencoder.shape, autoencoder.dtype, height, width, tile, on_gpu)


def picture_bytes_of(shape: AutoencoderConfig, dtype: torch.dtype, height: int, width: int,
                     tile: int | None, on_gpu: bool) -> int:
    """The same from the shape alone."""
    result = 2 * 4 * 3 * height * width  # the picture in float32, and as it is put together
    if tile is not None:
        height, width = (min(size, tile * shape.stride) for size in (height, width))
    if on_gpu and dtype in (torch.bfloat16, torch.float16):
        stem = shape.stem_patch
        return result + scratch_bytes(shape.level_widths, height // stem, width // stem,
                                      dtype.itemsize)
    return result + FEATURE_MAPS * shape.base_channels * height * width * dtype.itemsize
