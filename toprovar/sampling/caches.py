"""Which KV cache a run has, where no workspace lends it one."""

from __future__ import annotations

from typing import Any

from ..rooms import spread
from ..schedules import ScaleSchedule
from ..sparsity.plan import SparsityPlan
from .bounded_cache import BoundedCache, BoundedLayout
from .cache import CacheLayout, KVCache
from .hosted_cache import HostedCache

Cache = KVCache | BoundedCache


def first_cache(plan: SparsityPlan, horizon: int, schedule: ScaleSchedule, hosted_layers: int,
                about: tuple[Any, ...], runs_again: bool) -> Cache:
    """The cache that a run begins with: of a plan that bounds layers, of layers that wait in host
    memory, or with room for all scales that are certain.

    Args:
        horizon: the last scale whose plan is certain.
        about: (rows, heads, head_dim, dtype, device, first row) of the cache.
        runs_again: see ``SamplingRun``.
    """
    if plan.compiled.bounded:
        return BoundedCache(BoundedLayout.plan(plan.compiled), *about)
    if hosted_layers:
        depth = plan.model.depth
        counts = [(n,) * depth for n in schedule.tokens]
        return HostedCache(counts, spread(min(hosted_layers, depth), depth), *about,
                           runs_again=runs_again)
    return KVCache(_layout(plan, horizon), *about)


def relaid_cache(cache: Cache, plan: SparsityPlan, horizon: int, rows: range) -> Cache:
    """The same keys with room for the scales that have become certain.

    Raises:
        ValueError: the cache is bounded, which must be known before the run.
    """
    if isinstance(cache, BoundedCache) or plan.compiled.bounded:
        raise ValueError("a plan that bounds the caches of layers must be known before the run")
    return cache.relaid(_layout(plan, horizon), rows)


def _layout(plan: SparsityPlan, horizon: int) -> CacheLayout:
    return CacheLayout.plan(plan.counts[: horizon + 1], horizon + 1 == len(plan.scales))
