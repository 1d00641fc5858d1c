"""Goldens that belong to no single output: inside the blocks, the autoencoder, the tables."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..models.quantizer import quantise
from ..models.rope import rotation_table
from ..ops.attention.reference import entropy
from ..sampling.run import LayerProbe
from ..schedules import get_schedule
from .check import Check, compare
from .family import Family, read_json


class GoldenProbe(LayerProbe):
    """Compares what happens inside the blocks of one run with attention.safetensors and
    debug.safetensors.

    Args:
        attention: goldens of attention, and ``settings`` its entry in config.json.
        debug: goldens of the residual stream and the text.
    """

    def __init__(self, attention: dict[str, Tensor], settings: dict[str, Any],
                 debug: dict[str, Tensor]) -> None:
        self.goldens, self.settings, self.debug = attention, settings, debug
        self.checks: list[Check] = []
        self.seen = {"attention layer_scale"}  # says in numbers what config.json says in words

    def missed(self) -> list[Check]:
        """Goldens that the run never came by, as misses."""
        keys = [f"attention {k}" for k in self.goldens] + [f"debug {k}" for k in self.debug]
        return [Check(key, math.nan, 0.0, "never compared") for key in keys
                if key not in self.seen]

    def _compare(self, source: str, kind: str, key: str, found: Tensor) -> None:
        golden = (self.goldens if source == "attention" else self.debug).get(key)
        if golden is not None:
            self.seen.add(f"{source} {key}")
            self.checks.append(compare(f"{source} {key}", kind, found, golden))

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        if layer == 0:
            self._compare("debug", "activation", f"block_in.scale{scale}", x)

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        self._compare("debug", "activation", f"block_out.layer{layer}.scale{scale}", x)

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        key = f"entropy.layer{layer}.scale{scale}"
        if key in self.goldens:
            self._compare("attention", "entropy", key, entropy(q, k, 1.0))
        if layer != self.settings.get("layer"):
            return
        if scale == self.settings.get("scale"):
            for name, found in {"q": q, "k": k, "v": v, "out": out}.items():
                self._compare("attention", "activation", name, found)
        if f"entropy_mean.scale{scale}" in self.goldens:
            values = entropy(q, k, 1.0)
            new = k[:, :, -q.shape[2] :]
            for name, kind, found in (
                ("entropy_rows", "entropy", values[..., :64]),
                ("entropy_last64", "entropy", values[..., -64:]),
                ("entropy_mean", "entropy", values.mean(-1)),
                ("q_rows", "activation", q[:, :, -4:]),
                ("k_rows", "activation", new[:, :, -4:]),
            ):
                self._compare("attention", kind, f"{name}.scale{scale}", found)

    def text(self, family: Family, run_name: str) -> None:
        """Compare the text goldens of ``debug``."""
        run = next(r for r in family.runs() if r.name == run_name)
        text, _ = family.inputs(run)
        text = text.to(family.device)
        both = text.join([text, family.transformer.null_rows(text.lengths)])
        with torch.inference_mode():
            context = family.transformer.prepare_text(both)
        found = {"text_normed": context.normed.features, "ca_kv": context.projected,
                 "cond_BD": context.pooled, "cond_gss": context.shared[:, None]}
        for key, value in found.items():
            self._compare("debug", "activation", key, value)


def probes(family: Family) -> dict[str, GoldenProbe]:
    """A probe for each run whose insides were recorded, by run name."""
    found: dict[str, GoldenProbe] = {}
    attention, debug = family.config.get("attention"), family.config.get("debug")
    for settings, file in ((attention, "attention"), (debug, "debug")):
        path = family.folder / f"{file}.safetensors"
        if not settings or not path.exists():
            continue
        probe = found.setdefault(settings["run"], GoldenProbe({}, {}, {}))
        if file == "attention":
            probe.goldens, probe.settings = load_file(path), settings
        else:
            probe.debug = load_file(path)
            probe.text(family, settings["run"])
    return found


def check_vae_roundtrip(family: Family) -> list[Check]:
    """Encoder, quantiser and decoder against vae_roundtrip.safetensors, if the family has one."""
    path = family.folder / "vae_roundtrip.safetensors"
    if not path.exists():
        return []
    golden = load_file(path)
    image = golden["image_uint8_rgb"].to(family.device).float() / 255 * 2 - 1
    grids = []
    while f"bits.{len(grids)}" in golden:
        grids.append(tuple(golden[f"bits.{len(grids)}"].shape[2:4]))
    with torch.inference_mode():
        latent = family.vae.encode(image.permute(2, 0, 1)[None])
        bits, summed = quantise(latent, grids)
        recon = family.vae.decode(summed)
    name = "vae_roundtrip"
    checks = [compare(f"{name} latent", "latent", latent, golden["latent"])]
    for i, found in enumerate(bits):
        expected = golden[f"bits.{i}"].to(found.device)
        found = found.permute(0, 2, 3, 1)[:, None]
        wrong = float((found != expected).sum()) if found.shape == expected.shape else math.inf
        checks.append(Check(f"{name} bits.{i}", wrong, 0.0))
    checks.append(compare(f"{name} quantized", "codes", summed, golden["quantized"]))
    checks.append(compare(f"{name} recon_float", "image", recon, golden["recon_float"]))
    return checks


def check_rope_grid(path: Path) -> list[Check]:
    """The rotation tables against rope_grid.safetensors."""
    golden = load_file(path)
    checks = []
    for key in sorted(k for k in golden if k.endswith(".cos_sin")):
        match = re.fullmatch(r"hd(\d+)\.hw([\d.]+)\.scale(\d+)\.cos_sin", key)
        if not match:
            checks.append(Check(f"rope_grid {key}", math.nan, 0.0, "unknown key"))
            continue
        schedule = get_schedule(match[2], "1M")
        table = rotation_table(schedule.grids[int(match[3])], schedule.rope_grid, int(match[1]))
        stem = key.removesuffix("cos_sin")
        rows = table[golden[f"{stem}token"]].permute(2, 0, 1)
        checks.append(compare(f"rope_grid {key}", "rotation", rows, golden[key]))
        if f"{stem}mean" in golden:
            mean = table.double().mean((0, 1))
            checks.append(compare(f"rope_grid {stem}mean", "rotation", mean,
                                  golden[f"{stem}mean"]))
    return checks


def check_schedules(path: Path) -> list[Check]:
    """The schedule table against schedules.json."""
    checks = []
    for template, budgets in read_json(path).items():
        for pn, grids in budgets.items():
            ours = get_schedule(template, pn).grids
            same = ours == tuple((h, w) for _, h, w in grids)
            checks.append(Check(f"schedules {template} {pn}", 0.0 if same else math.inf, 0.0))
    return checks
