"""What a run that edits a picture (VAREdit) did with it, against what was recorded."""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..models.autoencoder import to_uint8
from ..models.latents import fold_patches
from ..sampling.observers import SOURCE, LayerProbe
from ..source_pictures import framed, restored, source_features
from .check import Check, compare, compare_best
from .family import Family, RunFolder

_ROWS = re.compile(r"(?:src|ref)_(\w+?)_rows(?:\.(?:layer|scale)(\d+))?")


class SourceRecorder(LayerProbe):
    """Prepares and encodes a recorded run's picture as the pipeline does, looks into the run, and
    compares.

    Args:
        picture: [h, w, 3] uint8.
        size: (height, width) of what is drawn.
    """

    def __init__(self, family: Family, run: RunFolder, picture: Tensor, size: tuple[int, int]
                 ) -> None:
        self.family, self.run, self.size = family, run, size
        self.square, self.frame = framed(Image.fromarray(picture.numpy()), size)
        with torch.inference_mode():
            self.features = source_features(family.vae, self.square)
        self.found: dict[str, Tensor] = {}
        self.keys: dict[str, list[int]] = {"block_0": [], "other_blocks": []}
        none = torch.empty(0, dtype=torch.int64)
        self._tokens = run.expected.get("src_tokens", none).to(self.features.device)
        patch = family.transformer.shape.patch
        with torch.inference_mode():
            folded = fold_patches(self.features, patch)
            self._keep("src_prefix_rows", folded.flatten(2).transpose(1, 2))
            self._keep("src_embed_rows", family.transformer.embed_codes(folded))

    def _keep(self, key: str, x: Tensor, tokens: Tensor | None = None) -> None:
        """Tokens (the last axis but one) of ``x``, if they were recorded."""
        if key in self.run.expected:
            index = self._tokens if tokens is None else tokens.to(x.device)
            self.found[key] = x.index_select(-2, index).clone()

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        if scale == SOURCE and layer == 0:
            self._keep("src_block_in_rows", x[:1])  # all rows are alike

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        if scale == SOURCE:
            self._keep(f"src_block_out_rows.layer{layer}", x)

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        if layer < 2:
            self.keys["other_blocks" if layer else "block_0"].append(k.shape[2])
        if scale == SOURCE:
            for name, x in (("q", q), ("k", k), ("v", v)):
                self._keep(f"src_{name}_rows.layer{layer}", x)
        elif layer == 0 and f"ref_tokens.scale{scale}" in self.run.expected:
            tokens = self.run.expected[f"ref_tokens.scale{scale}"]
            for name, x in (("k", k), ("v", v)):
                self._keep(f"ref_{name}_rows.scale{scale}", x, tokens)

    def settings(self, prefix: str) -> list[Check]:
        """What run.json says in words: the prepared picture's hash, and how many keys are seen."""
        wanted, found = self.run.settings, []
        if "source_square_sha256" in wanted:
            same = hashlib.sha256(self.square.tobytes()).hexdigest() == \
                wanted["source_square_sha256"]
            found.append(Check(f"{prefix} source_square", 0.0 if same else math.inf, 0.0))
        for place, keys in wanted.get("keys_seen_by_attention", {}).items():
            off = 0.0 if self.keys.get(place) == keys else math.inf
            found.append(Check(f"{prefix} keys_seen_by_attention {place}", off, 0.0))
        return found

    def check(self, prefix: str, key: str, image: Tensor) -> Check | None:
        """Comparison with one golden tensor; None if it is none of this kind.

        Args:
            image: [B, 3, H, W] float32, decoded.
        """
        name, golden = f"{prefix} {key}", self.run.expected[key]
        every, start = self.run.settings.get("every", 1), self.run.settings.get("image_crop_from")
        if match := _ROWS.fullmatch(key):
            kind = "source" if match[1] in ("prefix", "k") else "stream"
            found = self.found.get(key)
            if found is None:
                return Check(name, math.nan, 0.0, "never met")
            return compare(name, kind, found, golden)
        if key == "src_square_uint8_every":
            square = torch.from_numpy(np.asarray(self.square).copy())[::every, ::every]
            return compare(name, "exact", square, golden)
        if match := re.fullmatch(r"src_features(?:_(area|head|tail|mean_std)(\d*))?", key):
            return compare(name, "source", _part(self.features, match[1], match[2]), golden)
        if match := re.fullmatch(r"image_float_area(\d+)", key):
            return compare(name, "image", F.adaptive_avg_pool2d(image, int(match[1])), golden)
        if re.fullmatch(r"image_float_crop\d+", key) and start is not None:
            size = golden.shape[-1]
            crop = image[..., start : start + size, start : start + size]
            return compare(name, "image", crop, golden)
        if key == "image_uint8_bgr_every":
            return compare(name, "level", to_uint8(image).flip(-1)[:, ::every, ::every], golden)
        if key == "final_uint8_rgb":
            picture = restored(Image.fromarray(to_uint8(image)[0].cpu().numpy()), self.frame)
            return compare(name, "level", torch.from_numpy(np.asarray(picture).copy()), golden)
        return None


def codes_crop(name: str, codes: Tensor, golden: Tensor) -> Check:
    """A crop of summed codes whose place is not stated: that which is nearest."""
    size, places = golden.shape[-1], range(codes.shape[-1] - golden.shape[-1] + 1)
    crops = {f"from {at}": codes[..., at : at + size, at : at + size] for at in places}
    return compare_best(name, "codes", crops, golden)


def _part(x: Tensor, what: str | None, size: str) -> Tensor:
    """A tensor as it was recorded: whole, area-averaged, its ends, or mean and deviation."""
    match what:
        case None:
            return x
        case "area":
            return F.adaptive_avg_pool2d(x, int(size))
        case "head":
            return x.flatten()[: int(size)]
        case "tail":
            return x.flatten()[-int(size) :]
    x = x.cpu().double()
    return torch.stack([x.mean(), x.std()])
