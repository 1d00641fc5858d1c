"""How a picture grows scale by scale, and where the tokens are."""

from __future__ import annotations

from PIL import Image

from toprovar import get_schedule
from toprovar.figures.colours import coloured
from toprovar.figures.plot import Plot
from toprovar.figures.sheet import BLUE, INK, PALE, SOFT, Sheet
from toprovar.models.variants import get_variant
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.plan_picture import scale_shares

from .drawing import PROMPT, Studio, head

BLACK_WHITE = ((38, 40, 44), (236, 238, 242))


def scales(studio: Studio) -> Image.Image:
    """The picture after every scale, with the tokens and the share of the work of each."""
    dense = studio.dense
    grids = studio.schedule.grids
    shares = scale_shares(dense.plan)[0]
    side, gap, left, top = 100.0, 8.0, 20.0, 84.0
    sheet = Sheet(2 * left + 5 * side + 4 * gap , top + 2 * (side + 66) - 24, 1.8)
    head(sheet, "One picture, ten scales", f"\"{PROMPT}\" after every scale, 512 x 512 pixels. "
                                           "Bar: share of the work.")
    for s, grid in enumerate(grids):
        x, y = left + s % 5 * (side + gap), top + s // 5 * (side + 66)
        sheet.text(x, y - 7, f"{grid[0]} x {grid[1]}", size=11, anchor="ls", bold=True)
        tokens = grid[0] * grid[1]
        sheet.text(x + side, y - 7, f"{tokens:,} token{'s' * (tokens > 1)}", size=9.5, colour=SOFT,
                   anchor="rs")
        sheet.picture(studio.decoded(dense.codes[s]), x, y, side, side, smooth=True)
        sheet.box(x, y + side + 6, side, 7, fill=PALE)
        sheet.box(x, y + side + 6, max(0.6, side * shares[s] / max(shares)), 7, fill=BLUE)
        share = ("<0.1" if shares[s] < 0.0005 else f"{100 * shares[s]:.1f}" if shares[s] < 0.0995
                 else f"{100 * shares[s]:.0f}")
        sheet.text(x, y + side + 17, f"{share} %", size=9.5)
    return sheet.finish()


def step(studio: Studio, scale: int = 5) -> Image.Image:
    """What one scale does: the picture before, its tokens, their bits, the picture after."""
    dense, grid = studio.dense, studio.schedule.grids[scale]
    side, gap, left, top = 150.0, 44.0, 20.0, 82.0
    sheet = Sheet(2 * left + 4 * side + 3 * gap, top + side + 40, 1.5)
    depth = dense.bits[scale].shape[1]
    head(sheet, f"What one scale does: scale {scale}, {grid[0]} x {grid[1]} tokens",
         "The transformer reads the picture so far and decides the bits of all tokens of the scale "
         "at once.")
    before, after = (studio.decoded(dense.codes[s]) for s in (scale - 1, scale))
    boxes = [left + n * (side + gap) for n in range(4)]
    for x, words in zip(boxes, ("1. the picture so far", f"2. a grid of {grid[0] * grid[1]} tokens",
                                f"3. {depth} bits for each token", "4. their codes are added"),
                        strict=True):
        sheet.text(x, top - 8, words, anchor="ls", bold=True, size=10.5)
    sheet.picture(before, boxes[0], top, side, side, smooth=True)
    coarse = before.resize((grid[1], grid[0]), Image.Resampling.BOX)
    sheet.picture(coarse, boxes[1], top, side, side)
    for line in range(1, grid[0]):
        at = side * line / grid[0]
        sheet.line([(boxes[1], top + at), (boxes[1] + side, top + at)], "#ffffff90", 0.6)
        sheet.line([(boxes[1] + at, top), (boxes[1] + at, top + side)], "#ffffff90", 0.6)
    # A tile for each of the first bits of all tokens.
    across, room = 4, 2.0
    tile = (side - (across - 1) * room) / across
    values = dense.bits[scale].float().cpu().numpy().T.reshape(-1, *grid)
    for bit, plane in enumerate(values[: across * across]):
        sheet.picture(coloured(plane, BLACK_WHITE), boxes[2] + bit % across * (tile + room),
                      top + bit // across * (tile + room), tile, tile)
    sheet.picture(after, boxes[3], top, side, side, smooth=True)
    for x in boxes[:3]:
        _arrow(sheet, x + side + 12, top + side / 2, gap - 24)
    for x, words in zip(boxes, (f"sum of {scale} scales, decoded", "the same, as the scale sees it",
                                "a small map for each bit", f"sum of {scale + 1} scales, decoded"),
                        strict=True):
        sheet.text(x, top + side + 8, words, size=9.5, colour=SOFT)
    return sheet.finish()


def tokens(_: Studio) -> Image.Image:
    """Tokens of every scale of a large picture."""
    schedule, shape = get_schedule("1.0", "1M"), get_variant("2b").config
    shares = scale_shares(dense_plan(shape, schedule))[0]
    counts = schedule.tokens
    sheet = Sheet(720, 330)
    last = sum(counts[-4:]) / sum(counts)
    head(sheet, f"The last scales are most of the work: {sum(counts):,} tokens at 1024 x 1024",
         f"The last four of the {len(counts)} scales have {100 * last:.0f} % of the tokens. Shares "
         "of the work are counted for the shape of Infinity-2B.")
    plot = Plot(sheet, (70, 84, 630, 176), (-0.5, len(counts) - 0.5), (0, 4400))
    plot.axes([(s, f"{g[0]}\n{100 * share:.0f} %" if share >= 0.005
                else f"{g[0]}\n<1 %") for s, (g, share) in
               enumerate(zip(schedule.grids, shares, strict=True))],
              [(n * 1000, f"{n * 1000:,}") for n in range(5)],
              "tokens a side of each scale; below, its share of the work", "tokens")
    base = plot.at(0, 0)[1]
    for s, tokens_ in enumerate(counts):
        x, y = plot.at(s, tokens_)
        sheet.box(x - 17, min(y, base - 1), 34, max(1.0, base - y),
                  fill=BLUE if s >= len(counts) - 4 else "#9db8d9")
        sheet.text(x, y - 4, f"{tokens_:,}", size=9.5, anchor="ms", colour=INK)
    return sheet.finish()


def _arrow(sheet: Sheet, x: float, y: float, length: float) -> None:
    sheet.line([(x, y), (x + length - 4, y)], SOFT, 1.6)
    sheet.area([(x + length, y), (x + length - 7, y - 4.5), (x + length - 7, y + 4.5)], SOFT)


