"""Which KV cache a run has, where no workspace lends it one."""

from __future__ import annotations

import torch

from ..models.transformer import InfinityTransformer
from ..ops.fp8 import E4M3
from ..rooms import spread
from ..schedules import ScaleSchedule
from ..sparsity.plan import SparsityPlan
from .bounded_cache import BoundedCache, BoundedLayout
from .cache import CacheLayout, KVCache
from .hosted_cache import HostedCache
from .params import EngineOptions
from .source_cache import AnyCache, SourceCache, with_source


def first_cache(
    transformer: InfinityTransformer, plan: SparsityPlan, horizon: int, schedule: ScaleSchedule,
    source: int, options: EngineOptions, rows: range, dtype: torch.dtype, runs_again: bool,
) -> AnyCache:
    """The cache that a run begins with: of a plan that bounds layers, of layers that wait in host
    memory, or with room for all scales that are certain.

    Args:
        horizon: the last scale whose plan is certain.
        source: tokens of a source picture, whose keys come first; 0 = there is none.
        rows: of the first scale; dtype: of the cache.
        runs_again: see ``SamplingRun``.
    """
    shape, device = transformer.shape, transformer.null_text.device
    about = (len(rows), shape.num_heads, shape.head_dim, dtype, device, rows.start)
    if plan.compiled.bounded:
        cache: KVCache | BoundedCache = BoundedCache(
            BoundedLayout.plan(plan.compiled, source), *about)
    elif options.hosted_layers:
        counts = with_source([(n,) * shape.depth for n in schedule.tokens], source)
        hosted = spread(min(options.hosted_layers, shape.depth), shape.depth)
        cache = HostedCache(counts, hosted, *about, runs_again=runs_again)
    else:
        cache = KVCache(_layout(plan, horizon, source), *about)
    if not source:
        return cache
    wide = transformer.compute_dtype if dtype == E4M3 else dtype
    return SourceCache(cache, schedule.grids[-1], *about[:3], wide, device)


def relaid_cache(cache: AnyCache, plan: SparsityPlan, horizon: int, source: int, rows: range
                 ) -> AnyCache:
    """The same keys with room for the scales that have become certain.

    Raises:
        ValueError: the cache is bounded, which must be known before the run.
    """
    if isinstance(cache, BoundedCache) or cache.bounded or plan.compiled.bounded:
        raise ValueError("a plan that bounds the caches of layers must be known before the run")
    return cache.relaid(_layout(plan, horizon, source), rows)


def _layout(plan: SparsityPlan, horizon: int, source: int) -> CacheLayout:
    counts = with_source(plan.counts[: horizon + 1], source)
    return CacheLayout.plan(counts, horizon + 1 == len(plan.scales))
