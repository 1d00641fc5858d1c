"""Whether a minimum per region fits into the tokens that are kept: arithmetic on host numbers."""

from __future__ import annotations

from bisect import bisect_right


def tokens_required(grid: tuple[int, int], region: int, min_per_region: int) -> int:
    """Tokens that the minimum of every region takes up together.

    Args:
        grid: (h, w) of the map.
        region: side of a region; the last ones of a row or column may be smaller.
        min_per_region: tokens of each region; a region that has fewer gives all it has.
    """
    if region < 1 or min_per_region < 1:
        return 0
    # Along a side regions have at most two lengths, so that no grid is large enough to wait for.
    heights, widths = (((region, length // region), (length % region, 1)) for length in grid)
    return sum(many * times * min(min_per_region, h * w)
               for h, many in heights for w, times in widths)


def feasible_minimum(grid: tuple[int, int], count: int, region: int) -> int:
    """Largest ``min_per_region`` (at most region * region) that ``count`` tokens can satisfy."""
    return bisect_right(range(1, region * region + 1), count,
                        key=lambda each: tokens_required(grid, region, each))


def check_selection(
    tokens: int, grid: tuple[int, int], count: int, region: int, min_per_region: int
) -> None:
    """ValueError if ``select_tokens`` cannot serve such a call. Host numbers only: for plans."""
    h, w = grid
    if tokens != h * w:
        raise ValueError(f"select_tokens: {tokens} scores given for a grid of {h} x {w}")
    if not 0 <= count <= tokens:
        raise ValueError(f"select_tokens: count is {count}, expected 0 to {tokens}")
    if region < 0 or min_per_region < 0 or (min_per_region and not region):
        raise ValueError(
            f"select_tokens: region is {region} and min_per_region {min_per_region}, expected "
            "both >= 0, and a region >= 1 where there is a minimum"
        )
    required = tokens_required(grid, region, min_per_region)
    if required > count:
        raise ValueError(
            f"select_tokens: {min_per_region} tokens of every {region} x {region} region of a "
            f"{h} x {w} map are {required}, but only {count} are kept: set min_per_region to at "
            f"most {feasible_minimum(grid, count, region)}, or take larger regions"
        )


def tile_size(grid: tuple[int, int], region: int) -> int:
    """Places in the tile that a kernel lays the map out in, powers of two on both sides."""
    regions = -(-grid[0] // region) * -(-grid[1] // region) if region else 1
    places = region * region if region else grid[0] * grid[1]
    return (1 << (regions - 1).bit_length()) * (1 << (places - 1).bit_length())
