"""One prompt and its seeds under several strategies: how far each picture is from the first, and a
contact sheet of them all. Pillow is all that the sheet needs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .metrics import difference_map, equal_bits, latent_distance, psnr, ssim

INK, FAINT, PAPER = "#22252a", "#6d737c", "#ffffff"
MARGIN, GAP = 24, 14
RAMP = ((10, 10, 22), (72, 24, 92), (158, 44, 96), (228, 92, 62), (250, 178, 72), (252, 252, 214))
"""Colours of the difference maps, from none to ``full``."""
LONGEST = 6
"""Pictures in a row; more go on to the next."""


@dataclass(frozen=True)
class Taken:
    """A picture as a run gave it.

    Attributes:
        bits: of each scale that was run, by its index: [1, N_s, d].
        latent: [1, d, h, w] summed codes.
        seconds: of the scale loop, measured; predicted: by a cost model, None if there is none.
        flop_share: of a dense run.
        notes: in words.
    """

    name: str
    image: Image.Image
    bits: dict[int, Tensor]
    latent: Tensor
    seconds: float
    predicted: float | None = None
    flop_share: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A picture held against the reference.

    Attributes:
        speedup: measured; predicted: None if unknown.
        psnr: dB, infinite for equal pictures.
        equal_bits: share over the scales that both ran; bit_scales: how many these are, of
            ``all_scales`` of the reference.
        difference: [h, w] float32, mean over channels of the absolute difference, 0 to 1.
        each: those of every seed, where the figures are means over several.
    """

    taken: Taken
    speedup: float
    predicted: float | None
    ssim: float
    psnr: float
    latent_distance: float
    equal_bits: float
    bit_scales: int
    all_scales: int
    difference: Tensor
    each: tuple[Compared, ...] = ()

    def spread(self, name: str) -> tuple[float, float]:
        """Least and most of a figure over the seeds."""
        values = [getattr(one, name) for one in self.each or (self,)]
        return min(values), max(values)

    def to_json(self) -> dict[str, Any]:
        more = {"each": [one.to_json() for one in self.each]} if self.each else {}
        return more | {
            "name": self.taken.name, "seconds": self.taken.seconds, "speedup": self.speedup,
            "speedup_predicted": self.predicted, "flop_share": self.taken.flop_share,
            "ssim": self.ssim, "psnr": self.psnr if math.isfinite(self.psnr) else None,
            "latent_distance": self.latent_distance, "equal_bits": self.equal_bits,
            "bit_scales": self.bit_scales, "notes": list(self.taken.notes),
        }


def compare(taken: Sequence[Taken]) -> list[Compared]:
    """Each picture against the first."""
    if not taken:
        raise ValueError("there are no pictures to compare")
    return [_against(one, taken[0]) for one in taken]


FIGURES = ("speedup", "ssim", "psnr", "latent_distance", "equal_bits")


def averaged(each: Sequence[Compared]) -> Compared:
    """One strategy's pictures of several seeds as one: means, with the first seed's picture. PSNR
    is infinite where one of them is."""
    first, *rest = each
    if not rest:
        return first
    taken = replace(
        first.taken, seconds=_mean([one.taken.seconds for one in each]),
        flop_share=_mean([one.taken.flop_share for one in each]),
        notes=tuple(dict.fromkeys(note for one in each for note in one.taken.notes)))
    means = {name: _mean([getattr(one, name) for one in each]) for name in FIGURES}
    faster = [one.predicted for one in each if one.predicted is not None]
    return replace(first, taken=taken, predicted=_mean(faster) if faster else None,
                   bit_scales=min(one.bit_scales for one in each), each=tuple(each), **means)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _against(one: Taken, reference: Taken) -> Compared:
    both = sorted(one.bits.keys() & reference.bits.keys())
    faster = None
    if one.predicted is not None and reference.predicted is not None:
        faster = reference.predicted / one.predicted
    return Compared(
        one, reference.seconds / one.seconds, faster,
        float(ssim(one.image, reference.image)), float(psnr(one.image, reference.image)),
        float(latent_distance(one.latent, reference.latent)),
        float(equal_bits([one.bits[s] for s in both], [reference.bits[s] for s in both])),
        len(both), len(reference.bits), difference_map(one.image, reference.image)[0],
    )


def contact_sheet(compared: Sequence[Compared], title: str = "", subtitle: str = "",
                  side: int = 384, full: float = 0.5) -> Image.Image:
    """All pictures with their figures, and under each its difference from the first.

    Args:
        title: such as the prompt; subtitle: where and how it was measured.
        side: pixels along the longer side of a picture.
        full: difference that is drawn in the last colour.
    """
    if not compared:
        raise ValueError("there are no pictures to show")
    big = compared[0].taken.image
    factor = side / max(big.size)
    size = (max(1, round(big.width * factor)), max(1, round(big.height * factor)))
    unit = max(side // 24, 11)
    fonts = {"title": sheet_font(round(unit * 1.35), True),
             "name": sheet_font(round(unit * 1.15), True), "text": sheet_font(unit)}
    columns = min(len(compared), LONGEST)
    rows = -(-len(compared) // columns)
    labels = round(4.6 * round(unit * 1.35))
    width = 2 * MARGIN + columns * size[0] + (columns - 1) * GAP
    head = sheet_lines(title, width - 2 * MARGIN, fonts["title"])
    foot = sheet_lines(subtitle, width - 2 * MARGIN, fonts["text"])
    top = MARGIN + round(unit * 1.8) * len(head) + round(unit * 1.45) * len(foot) + GAP
    cell = labels + 2 * size[1] + 2 * GAP
    sheet = Image.new("RGB", (width, top + rows * cell - GAP + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for line in head:
        draw.text((MARGIN, y), line, INK, fonts["title"])
        y += round(unit * 1.8)
    for line in foot:
        draw.text((MARGIN, y), line, FAINT, fonts["text"])
        y += round(unit * 1.45)
    for i, one in enumerate(compared):
        x = MARGIN + (i % columns) * (size[0] + GAP)
        y = top + (i // columns) * cell
        for n, line in enumerate(label(one, first=i == 0)):
            draw.text((x, y + n * round(unit * 1.35)), line, FAINT if n > 1 else INK,
                      fonts["text" if n else "name"])
        y += labels
        sheet.paste(resized(one.taken.image, size), (x, y))
        y += size[1] + GAP // 2
        if i:
            sheet.paste(resized(heat(one.difference, full), size), (x, y))
        else:
            _legend(sheet, draw, (x, y), size, fonts["text"], unit, full)
    return sheet


def label(one: Compared, first: bool = False) -> list[str]:
    """The figures of a picture, a line each, the name first."""
    seconds = f"{one.taken.seconds:.2f} s" if one.taken.seconds >= 0.1 \
        else f"{one.taken.seconds * 1000:.0f} ms"
    if first:
        return [one.taken.name, f"{seconds}, what the others are held against"]
    predicted = f" ({one.predicted:.2f} x predicted)" if one.predicted is not None else ""
    decibel = f"{one.psnr:.1f} dB" if math.isfinite(one.psnr) else "equal"
    of = f" of {one.bit_scales} scales" if one.bit_scales < one.all_scales else ""
    return [
        one.taken.name,
        f"{seconds}, {one.speedup:.2f} x faster{predicted}",
        f"SSIM {one.ssim:.3f}, PSNR {decibel}",
        f"FLOPs {100 * one.taken.flop_share:.0f} %, equal bits {100 * one.equal_bits:.1f} %{of}",
    ]


def heat(difference: Tensor, full: float = 0.5) -> Image.Image:
    """A difference map [h, w] in colours, ``full`` and above in the last one."""
    places = np.linspace(0, 1, len(RAMP))
    level = (difference.float().cpu().numpy() / full).clip(0, 1)
    channels = [np.interp(level, places, [c[i] for c in RAMP]) for i in range(3)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def _legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int],
            size: tuple[int, int], font: Any, unit: int, full: float) -> None:
    """Under the reference, which differs from itself nowhere: what the colours mean."""
    import torch

    x, y = at
    bar = heat(torch.linspace(0, full, size[0])[None].expand(unit, -1), full)
    y += size[1] // 2 - 2 * unit
    draw.text((x, y - round(unit * 1.7)), "difference from this picture", FAINT, font)
    sheet.paste(bar, (x, y))
    draw.text((x, y + round(unit * 1.4)), "0", FAINT, font)
    text = f"{100 * full:.0f} % of full range"
    draw.text((x + size[0] - draw.textlength(text, font), y + round(unit * 1.4)), text, FAINT, font)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def sheet_font(size: int, bold: bool = False) -> Any:
    """DejaVu where it is installed, which has most scripts' letters, else Pillow's own."""
    try:
        return ImageFont.truetype("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def sheet_lines(text: str, width: int, font: Any, most: int = 3) -> list[str]:
    """Broken to ``width`` pixels."""
    if not text:
        return []
    letter = max(font.getlength(text) / len(text), 1)
    lines = textwrap.wrap(text, max(int(width / letter * 0.97), 8))
    return lines[:most] if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " ..."]
