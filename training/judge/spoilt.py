"""Spoilt sprites: halves, mixtures and mush, which the judge must learn to call nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from training.data.atlas import SpriteAtlas
from training.judge.blur import blur
from training.judge.warp import field, warped

KINDS = ("mush", "part", "chimera", "tiles", "smear")


class SpoiltAtlas:
    """The sprites of an atlas followed by ``count`` x variants spoilt ones, redrawn on demand."""

    def __init__(self, atlas: SpriteAtlas, count: int, seed: int) -> None:
        self._source, self._seed = atlas, seed
        self.real = atlas.sprites.shape[0]
        self.count = count
        room = torch.zeros_like(atlas.sprites[:1]).expand(count, -1, -1, -1, -1)
        extent = torch.ones((count, 2), device=atlas.device)
        self.atlas = SpriteAtlas(
            torch.cat([atlas.sprites, room]), torch.cat([atlas.extent, extent])
        )
        self._generator = torch.Generator(atlas.device).manual_seed(seed)

    def twin(self) -> SpoiltAtlas:
        """Another one of the same sprites, to be redrawn apart from this one."""
        return SpoiltAtlas(self._source, self.count, self._seed)

    def redraw(self, seed: int | None = None) -> None:
        """Replace all spoilt sprites; with a seed by ones that depend on it alone."""
        if not self.count:
            return
        if seed is not None:
            self._generator.manual_seed(seed)
        sprites = self.atlas.sprites
        variants = sprites.shape[1]
        many = self.count * variants
        rng, device = self._generator, sprites.device
        first = torch.randint(self.real, (many,), generator=rng, device=device)
        # Never two halves of one class: those would make a whole object.
        step = torch.randint(1, max(self.real, 2), (many,), generator=rng, device=device)
        second = (first + step) % self.real
        made = spoil(self._pick(first), self._pick(second), rng)
        made = (made * 255.0).round().clamp(0, 255).to(torch.uint8)
        sprites[self.real :] = made.unflatten(0, (self.count, variants))

    def _pick(self, cls: Tensor) -> Tensor:
        """Sprites of these classes in any colour, premultiplied float32 [N, 4, S, S] in 0-1."""
        sprites = self.atlas.sprites
        tint = torch.randint(
            sprites.shape[1], cls.shape, generator=self._generator, device=sprites.device
        )
        return sprites[cls, tint].float() / 255.0


def spoil(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """One spoilt sprite from every pair of premultiplied ones [N, 4, S, S]; kinds in turn."""
    functions = (_mush, _part, _chimera, _tiles, _smear)
    out = torch.empty_like(first)
    for index, function in enumerate(functions):
        rows = slice(index, None, len(functions))
        if len(first[rows]):
            out[rows] = function(first[rows], second[rows], generator)
    return out.clamp(0, 1)


def _mush(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """Deformed past recognition."""
    amount = _uniform(len(first), 0.13, 0.25, generator, first.device)
    moves = field(len(first), first.shape[-1], 5, amount, generator)
    return warped(first, moves, "zeros")


def _part(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """The smaller piece of a cut along a random line, in the middle of the square."""
    size = first.shape[-1]
    ahead = _half_plane(first, generator, 0.08, 0.2)
    kept = first * ahead
    # In the middle, or the heatmap could learn the cut from the piece's place alone.
    weight = kept[:, 3].flatten(1).sum(1).clamp_min(1.0)
    place = (torch.arange(size, device=first.device) + 0.5) / size
    x = (kept[:, 3].sum(1) * place).sum(1) / weight - 0.5
    y = (kept[:, 3].sum(2) * place).sum(1) / weight - 0.5
    moves = torch.stack([x, y], 1)[:, :, None, None].expand(-1, -1, size, size)
    return warped(kept, moves, "zeros")


def _chimera(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """One half of each of two sprites."""
    ahead = _half_plane(first, generator, -0.05, 0.05)
    return first * ahead + second * (1 - ahead)


def _tiles(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """Cut in 3 x 3 or 4 x 4 tiles that change places."""
    count, channels, size, _ = first.shape
    out = []
    for rows, parts in ((first[: count // 2], 3), (first[count // 2 :], 4)):
        side = size // parts
        tiles = rows[..., : side * parts, : side * parts]
        tiles = tiles.unflatten(3, (parts, side)).unflatten(2, (parts, side))
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        order = torch.rand(tiles.shape[:2], generator=generator, device=first.device).argsort(1)
        tiles = tiles.gather(1, order[:, :, None, None, None].expand_as(tiles))
        tiles = tiles.unflatten(1, (parts, parts)).permute(0, 3, 1, 4, 2, 5)
        made = torch.zeros((len(rows), channels, size, size), device=first.device)
        made[..., : side * parts, : side * parts] = tiles.flatten(4, 5).flatten(2, 3)
        out.append(made)
    return torch.cat(out)


def _smear(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """A blot in the sprite's colours."""
    count, _, size, _ = first.shape
    soft = blur(first, _uniform(count, 0.10, 0.18, generator, first.device) * size)
    amplitude = torch.ones(count, device=first.device)
    shape = field(count, size, 5, amplitude, generator)[:, :1]
    place = (torch.arange(size, device=first.device) + 0.5) / size - 0.5
    away = (place[None, :].square() + place[:, None].square()).sqrt()
    alpha = (((0.36 + 0.10 * shape) - away) * 25.0).clamp(0, 1)
    return torch.cat([soft[:, :3] / soft[:, 3:].clamp_min(0.05) * alpha, alpha], dim=1)


def _half_plane(like: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """1 ahead of a random line this far from the middle, else 0: [N, 1, S, S]."""
    count, size, device = len(like), like.shape[-1], like.device
    angle = _uniform(count, 0.0, 2 * torch.pi, generator, device)[:, None, None]
    away = _uniform(count, low, high, generator, device)[:, None, None]
    place = (torch.arange(size, device=device) + 0.5) / size - 0.5
    along = angle.cos() * place[None, None, :] + angle.sin() * place[None, :, None]
    return ((along - away) * size).clamp(0, 1)[:, None]


def _uniform(
    count: int, low: float, high: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=device)
