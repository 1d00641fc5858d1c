"""How much memory a run and a decoded picture need besides weights, before either begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sampling.bounded_cache import BoundedLayout
from .sampling.cache import CacheLayout

if TYPE_CHECKING:
    from .models.autoencoder import InfinityAutoencoder
    from .models.transformer import InfinityTransformer
    from .schedules import ScaleSchedule
    from .sparsity.plan import SparsityPlan

FEATURE_MAPS = 6
"""Full-size feature maps of the decoder's first width that are held at once, rounded up."""


def run_bytes(transformer: InfinityTransformer, schedule: ScaleSchedule, rows: int,
              plan: SparsityPlan | None = None, narrow_cache: bool = False) -> int:
    """What a run needs: its KV cache, and the largest scale's intermediate results.

    Args:
        rows: images, twice with guidance.
        plan: what lays out the cache; without one every layer keeps every token.
        narrow_cache: whether keys and values are kept in 8 bits.
    """
    shape, width = transformer.shape, transformer.compute_dtype.itemsize
    # float32 residual and update, q, k, v and the hidden layer of the feed-forward, logits.
    token = 8 * shape.width + width * (4 * shape.width + shape.mlp_hidden) \
        + 4 * 2 * shape.bits_per_token
    return cache_bytes(transformer, schedule, rows, plan, narrow_cache) \
        + rows * max(schedule.tokens) * token


def cache_bytes(transformer: InfinityTransformer, schedule: ScaleSchedule, rows: int,
                plan: SparsityPlan | None = None, narrow_cache: bool = False) -> int:
    """The KV cache of such a run alone."""
    shape = transformer.shape
    stored = 1 if narrow_cache else transformer.compute_dtype.itemsize
    if plan and plan.compiled.bounded:
        keys = BoundedLayout.plan(plan.compiled).size
    else:
        counts = plan.counts if plan else [(n,) * shape.depth for n in schedule.tokens]
        keys = CacheLayout.plan(counts).size
    return rows * 2 * keys * shape.width * stored


def picture_bytes(autoencoder: InfinityAutoencoder, height: int, width: int) -> int:
    """What decoding or encoding one picture of ``height`` x ``width`` pixels needs."""
    channels = autoencoder.shape.base_channels
    return FEATURE_MAPS * channels * height * width * autoencoder.dtype.itemsize
