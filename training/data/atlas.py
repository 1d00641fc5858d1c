"""The sprite atlas: every class's rendering in one file, and its colour variants in memory.

``python -m training.data.atlas --out FILE`` builds the file from the fetched art. Its sprites are
RGBA, [classes, 4, side, side], sRGB with straight alpha, each trimmed, scaled so that all cover a
similar area, and centred; they are stored as PNG files. ``--art vectors`` draws them sharp at
``--side`` 768, for pictures of up to 1024 pixels; ``--art renderings`` (192) is what the first
models and the judge were made of. Everything after it needs only this file and the repository.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.data.catalog import ObjectClass, load_classes
from training.data.colours import COLOUR_NAMES, OBJECT_COLOURS
from training.data.fetch import ART, DEFAULT_CACHE, NAMES, VECTORS, FetchError, fetch
from training.data.files import replacing
from training.data.recolour import recolour
from training.data.vectors import draw

log = logging.getLogger(__name__)

SPRITE = 192
"""Side in pixels of a sprite from the renderings, and the smallest that is made of a larger one."""
SHARP = 768
"""Side in pixels of a sprite from the vectors."""
_ENOUGH = 0.7
"""Share of a picture's side that the sprites used for it have at least."""
NATURAL = 0
"""Variant that is the sprite as drawn; variant 1 + i is COLOUR_NAMES[i]."""
VARIANTS = 1 + len(COLOUR_NAMES)
# Filled area a sprite is scaled to, and the longest side it may have, as shares of the square.
_AREA = 0.52
_LONGEST = 0.98


@dataclass(frozen=True)
class SpriteAtlas:
    """Sprites in every colour, ready to be composed.

    Attributes:
        sprites: uint8 [classes, variants, 4, S, S], sRGB, premultiplied by alpha. Where a class
            cannot be recoloured its variants repeat the natural one; a colour that is natural to
            a class is the sprite as drawn.
        extent: float32 [classes, 2], width and height of the visible part as shares of the
            square; it is centred.
        coarser: the same sprites at half the side, at a quarter and so on, down to SPRITE.
    """

    sprites: Tensor
    extent: Tensor
    coarser: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.sprites.shape)
        if len(shape) != 5 or shape[1] != VARIANTS or shape[2] != 4 or shape[3] != shape[4]:
            raise ValueError(f"sprites must be [classes, {VARIANTS}, 4, S, S], got {shape}")
        if self.sprites.dtype != torch.uint8:
            raise ValueError(f"sprites must be uint8, got {self.sprites.dtype}")
        if tuple(self.extent.shape) != (shape[0], 2):
            raise ValueError(f"extent must be [{shape[0]}, 2], got {tuple(self.extent.shape)}")

    @property
    def device(self) -> torch.device:
        return self.sprites.device

    def level(self, size: int) -> Tensor:
        """The smallest sprites that are sharp enough for pictures of ``size`` pixels."""
        able = [s for s in (self.sprites, *self.coarser) if s.shape[-1] >= _ENOUGH * size]
        return able[-1] if able else self.sprites

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | str = "cpu", side: int | None = None
    ) -> SpriteAtlas:
        """Read an atlas file and expand it on ``device``.

        Args:
            side: pixels of a sprite, at most those of the file, which must be a multiple of it;
                None = the file's.
        """
        classes = load_classes()
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no sprite atlas at {path}; build one with `python -m training.data.fetch` and "
                f"`python -m training.data.atlas --out {path}`"
            )
        with safe_open(str(path), framework="pt") as file:
            names = json.loads((file.metadata() or {}).get("classes", "[]"))
            if names != [entry.name for entry in classes]:
                raise ValueError(f"{path} was built for other classes; build it again")
            straight = _read(file)
        if side is not None:
            straight = _smaller(straight, side)
        return cls.expand(straight.to(device), classes)

    @classmethod
    def expand(cls, straight: Tensor, classes: tuple[ObjectClass, ...]) -> SpriteAtlas:
        """Colour variants of base sprites, uint8 [classes, 4, S, S] with straight alpha."""
        if straight.shape[0] != len(classes):
            raise ValueError(f"{straight.shape[0]} sprites for {len(classes)} classes")
        size = straight.shape[-1]
        out = torch.empty(
            (len(classes), VARIANTS, 4, size, size), dtype=torch.uint8, device=straight.device
        )
        for index, entry in enumerate(classes):
            base = straight[index].float() / 255.0
            out[index] = _premultiplied(base)
            if not entry.recolour:
                continue
            for place, colour in enumerate(OBJECT_COLOURS, start=1):
                if colour.name not in entry.natural:
                    painted = recolour(base, colour, entry.hue_range, entry.hue)
                    out[index, place] = _premultiplied(painted)
        return cls(out, _extents(straight[:, 3]), _halvings(out))


def _halvings(sprites: Tensor) -> tuple[Tensor, ...]:
    """Premultiplied sprites uint8 [C, V, 4, S, S] at half the side, again and again."""
    found = []
    while sprites.shape[-1] // 2 >= SPRITE and sprites.shape[-1] % 2 == 0:
        halved = [F.avg_pool2d(own.float(), 2).round().to(torch.uint8) for own in sprites]
        sprites = torch.stack(halved)
        found.append(sprites)
    return tuple(found)


def _smaller(straight: Tensor, side: int) -> Tensor:
    """Straight-alpha sprites uint8 [C, 4, S, S] at a side that divides theirs."""
    factor, rest = divmod(straight.shape[-1], side)
    if rest or not factor:
        raise ValueError(f"sprites of {straight.shape[-1]} pixels cannot be given at {side}")
    if factor == 1:
        return straight
    rgba = straight.float() / 255.0
    mixed = F.avg_pool2d(torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1), factor)
    rgb = mixed[:, :3] / mixed[:, 3:].clamp_min(1e-6)
    return (torch.cat([rgb, mixed[:, 3:]], 1) * 255.0).round().clamp(0, 255).to(torch.uint8)


def _read(file: Any) -> Tensor:
    """Sprites uint8 [C, 4, S, S], from PNG files or, in older atlases, as they are."""
    if "sprites" in file.keys():  # noqa: SIM118  # not a dictionary
        return file.get_tensor("sprites")
    found = []
    for name in sorted(file.keys()):
        with Image.open(io.BytesIO(file.get_tensor(name).numpy().tobytes())) as image:
            found.append(np.asarray(image.convert("RGBA")).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found))


def _packed(sprites: Tensor) -> dict[str, Tensor]:
    """Each sprite as the bytes of a PNG file; names sort in the order of the classes."""
    out = {}
    for index, sprite in enumerate(sprites):
        data, pixels = io.BytesIO(), sprite.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(data, "PNG")
        out[f"sprite-{index:03}"] = torch.frombuffer(bytearray(data.getvalue()), dtype=torch.uint8)
    return out


def _premultiplied(rgba: Tensor) -> Tensor:
    scaled = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])
    return (scaled * 255.0).round().clamp(0, 255).to(torch.uint8)


def _extents(alpha: Tensor) -> Tensor:
    """Width and height of the visible part, shares of the square: [N, 2] from uint8 [N, S, S]."""
    seen = alpha > 24
    size = alpha.shape[-1]
    wide = seen.any(dim=1).sum(dim=1)
    high = seen.any(dim=2).sum(dim=1)
    return torch.stack([wide, high], dim=1).float() / size


def build(cache: Path = DEFAULT_CACHE, vectors: bool = False, side: int = SPRITE) -> Tensor:
    """Base sprites from the fetched art: uint8 [classes, 4, side, side], straight alpha.

    With ``vectors`` those classes that have a vector picture are drawn from it.
    """
    art, names, *drawings = fetch(cache, (ART, NAMES, VECTORS)[: 2 + vectors])
    listed = json.loads((names / "emoji.json").read_text(encoding="utf-8"))
    by_name = {row["short_name"]: row["unified"].lower() for row in listed}
    sprites = []
    for entry in load_classes():
        unified = by_name.get(entry.short_name)
        if unified is None or unified.removesuffix("-fe0f") != entry.codepoint.removesuffix(
            "-fe0f"
        ):
            raise ValueError(
                f"class {entry.name!r}: emoji.json gives {unified!r} for {entry.short_name!r}, "
                f"classes.json says {entry.codepoint!r}"
            )
        if vectors and entry.icon is not None:
            # Drawn larger than needed, since trimming and scaling resample it.
            image = draw(drawings[0] / "icons.json", entry.icon, 2 * side)
            sprites.append(fit(image, side))
            continue
        with Image.open(art / "assets" / f"{entry.codepoint}.webp") as image:
            sprites.append(fit(image.convert("RGBA"), side))
    return torch.from_numpy(np.stack(sprites))


def fit(image: Image.Image, side: int = SPRITE) -> np.ndarray:
    """Trim, scale and centre one RGBA picture: uint8 [4, side, side], straight alpha."""
    alpha = np.asarray(image)[..., 3]
    ys, xs = np.nonzero(alpha > 24)
    if not len(ys):
        raise ValueError("the rendering is empty")
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    wide, high = box[2] - box[0], box[3] - box[1]
    filled = float((alpha[box[1] : box[3], box[0] : box[2]] / 255.0).sum())
    scale = min(side * (_AREA / filled) ** 0.5, side * _LONGEST / max(wide, high))
    out_wide, out_high = max(1, round(wide * scale)), max(1, round(high * scale))
    # Resampling straight alpha would bleed the colour of invisible pixels into the edges.
    small = image.convert("RGBa").resize((out_wide, out_high), Image.Resampling.LANCZOS, box=box)
    canvas = Image.new("RGBa", (side, side))
    canvas.paste(small, ((side - out_wide) // 2, (side - out_high) // 2))
    return np.asarray(canvas.convert("RGBA")).transpose(2, 0, 1).copy()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the sprite atlas.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the art lies")
    parser.add_argument("--art", choices=("renderings", "vectors"), default="renderings")
    parser.add_argument("--side", type=int, help=f"pixels of a sprite (default: {SPRITE} for "
                        f"renderings, {SHARP} for vectors)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        vectors = arguments.art == "vectors"
        sprites = build(arguments.cache, vectors, arguments.side or (SHARP if vectors else SPRITE))
    except (FetchError, RuntimeError) as error:
        log.error("%s", error)
        return 1
    metadata = {
        "classes": json.dumps([entry.name for entry in load_classes()]),
        "alpha": "straight",
        "source": f"{ART.name} {ART.version}, {VECTORS.name} {VECTORS.version}, MIT, "
                  "Microsoft Corporation",
    }
    with replacing(arguments.out) as temporary:
        save_file(_packed(sprites), str(temporary), metadata)
    log.info("%d sprites, %d bytes", len(sprites), arguments.out.stat().st_size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
