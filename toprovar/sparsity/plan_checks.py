"""What the scales of a plan must be to one another: a run can only use what earlier ones left."""

from __future__ import annotations

from collections.abc import Sequence

from .compiled import fallback_sources, scales_before
from .scale_plan import ScalePlan


def check_scales(scales: Sequence[ScalePlan], depth: int, shortcuts: bool) -> None:
    """Refuse what cannot be run.

    Args:
        depth: layers of the model; shortcuts: whether the plan names maps for shortcuts.

    Raises:
        ValueError: with the scale and the reason.
    """
    if not scales or not scales[0].run:
        raise ValueError("the first scale must be run")
    for i, scale in enumerate(scales):
        if len(scale.keep) != depth:
            raise ValueError(f"scale {i}: keep has {len(scale.keep)} entries, the model {depth} "
                             "layers")
    before, sources = scales_before(scales), fallback_sources(scales)
    rows = {"conditional", "unconditional"}
    for i, scale in enumerate(scales):
        if not scale.run:
            continue
        own = {name for name in ("conditional", "unconditional") if getattr(scale, name)}
        if own - rows:
            raise ValueError(f"scale {i}: guidance cannot come back once it was dropped (the "
                             f"{', '.join(own - rows)} row has no keys of the scales between)")
        rows = own
        if i == 0 and scale.sparse and scale.rule == "change":
            raise ValueError("scale 0: no scale before it has changed anything to choose by")
        _check_source(scales, i)
        for source in {s for s in sources[i] if s is not None}:
            if scales[source].special:
                raise ValueError(f"scale {i}: the updates of scale {source}, which works on "
                                 "mixtures, cannot stand in for dropped tokens")
        _check_shortcut(scales, i, before[i], shortcuts)
        _check_special(scales, i, before[i])
        _check_maps(scales, i)
        if scale.window:
            _check_places(scales, i)


def _check_maps(scales: Sequence[ScalePlan], i: int) -> None:
    for layer in range(len(scales[i].keep)):
        if scales[i].guided_by(layer) and not any(
            s.run and s.keep[layer] == s.tokens for s in scales[:i]
        ):
            raise ValueError(f"scale {i}, layer {layer}: no scale before ran this layer in full, "
                             "so there is no entropy map to choose tokens by")


def _check_places(scales: Sequence[ScalePlan], i: int) -> None:
    """A window needs to know where in the picture every key of the cache is from."""
    for s, before in enumerate(scales[:i]):
        partial = any(n not in (0, before.tokens) for n in before.keep)
        if before.run and (before.special or before.cache or partial):
            raise ValueError(f"scale {i} has a window, but the cache does not hold all keys of "
                             f"scale {s}, which works on some of its tokens or bounds the cache")


def _check_source(scales: Sequence[ScalePlan], i: int) -> None:
    scale, source = scales[i], scales[i].source
    if source is None:
        if scale.dropped == "cached" and scale.sparse and i == 0:
            raise ValueError("scale 0: there is no earlier scale to take updates from")
        return
    if scale.dropped != "cached":
        raise ValueError(f"scale {i}: source is given, but dropped is {scale.dropped!r}")
    if not 0 <= source < i or not scales[source].run:
        raise ValueError(f"scale {i}: source {source} is not an earlier scale that is run")
    if any(scale.keep[layer] < scale.tokens and scales[source].keep[layer] == 0
           for layer in range(len(scale.keep))):
        raise ValueError(f"scale {i}: source {source} does not run a layer whose updates are "
                         "needed")


def _check_shortcut(scales: Sequence[ScalePlan], i: int, source: int | None, named: bool) -> None:
    lengths = [n for n in (scales[i].shortcut, scales[i].rejoin) if n]
    if not lengths:
        return
    if not named:
        raise ValueError(f"scale {i} has a shortcut, but the plan does not say of which maps "
                         "(shortcuts)")
    if source is None:
        raise ValueError(f"scale {i}: there is no earlier scale for its shortcut to start from")
    before = scales[source]
    if before.special:
        raise ValueError(f"scale {i} has a shortcut from scale {source}, which works on "
                         "mixtures: the residual to start from is not known there")
    if before.shortcut > min(lengths) or before.rejoin > min(lengths):
        raise ValueError(
            f"scale {i} has a shortcut through {min(lengths)} layers, scale {source} before it "
            f"one through {max(before.shortcut, before.rejoin)}: the residual to start from is "
            "not known there")


def _check_special(scales: Sequence[ScalePlan], i: int, source: int | None) -> None:
    special = scales[i].special
    if not special:
        return
    if source is None:
        raise ValueError("scale 0: there is no earlier scale to restore tokens from")
    before = scales[source]
    if before.shortcut or before.together or (
            before.special and set(special.ends) - set(before.special.ends)):
        raise ValueError(f"scale {i} restores tokens from the scale before it, which must "
                         "have all of them after every group of layers")
