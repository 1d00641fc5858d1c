"""A family of goldens on disk: one model, its inputs, and what the official code computed."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..checkpoints.load import load_autoencoder, load_transformer
from ..models.autoencoder import InfinityAutoencoder
from ..models.config import INFINITY, VAREDIT
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..sparsity.strategies.base import Recordings
from .methods import method_of, recordings

SOURCE_KEY = "source_uint8_rgb"
"""Among a run's inputs: the picture that it edits."""


@dataclass(frozen=True)
class RunFolder:
    """One recorded run.

    Attributes:
        settings: run.json.
        expected: golden tensors.
        noise: recorded random draws, if any.
    """

    path: Path
    settings: dict[str, Any]
    expected: dict[str, Tensor]
    noise: dict[str, Tensor]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def method(self) -> str:
        """Name of the method that the run was recorded with; "dense" if none."""
        return method_of(self.settings, self.expected)

    @property
    def recordings(self) -> Recordings | None:
        """What the method's strategy says of its runs; None if dense, or not supported."""
        return recordings().get(self.method)


class Family:
    """A folder with config.json, weights and runs.

    Args:
        folder: the family.
        device: where to compute.
        runs: folder of the runs, where these lie elsewhere than in ``folder``/runs.
        edits: whether the runs edit a picture; None = as their inputs show.
    """

    def __init__(self, folder: Path, device: torch.device, runs: Path | None = None,
                 edits: bool | None = None) -> None:
        self.folder, self.device = folder, device
        self.own_runs = folder / "runs"
        self.runs_folder = runs or self.own_runs
        self.config = read_json(folder / "config.json")
        settings = self.config["transformer"]
        for key, value in {"rope2d_normalized_by_hw": 2, "rope2d_each_sa_layer": 1,
                           "use_bit_label": 1}.items():
            if settings.get(key, value) != value:
                raise ValueError(f"{folder / 'config.json'}: {key} = {settings[key]} is not "
                                 f"supported, expected {value}")
        vae = self.config.get("vae", {})
        self.vae_path = (folder / vae.get("file", "vae.safetensors")).resolve()
        self.transformer = load_transformer(
            folder / "weights.safetensors", dtype=torch.float32, device=str(device),
            patchify=bool(settings.get("apply_spatial_patchify", 0)),
            family=VAREDIT if (self._edits() if edits is None else edits) else INFINITY,
        )
        if not settings.get("add_lvl_embeding_only_first_block", 1):
            # Weights do not show it, and no released model does it.
            self.transformer.shape = dataclasses.replace(
                self.transformer.shape, level_embed_every_chunk=True
            )
        check_settings(folder, settings, self.transformer)
        self._vae: InfinityAutoencoder | None = None

    @property
    def vae(self) -> InfinityAutoencoder:
        """The autoencoder, loaded when first asked for."""
        if self._vae is None:
            self._vae = load_autoencoder(
                self.vae_path, dtype=torch.float32, device=str(self.device)
            )
        return self._vae

    def runs(self) -> list[RunFolder]:
        """Every run folder with a run.json (the others only lend their bits), in order."""
        return [self.run(p.parent) for p in sorted(self.runs_folder.glob("*/run.json"))]

    def run(self, path: Path) -> RunFolder:
        settings = read_json(path / "run.json")
        lender = settings.get("noise_from")
        noise = (self.lender(lender) if lender else path) / "noise.safetensors"
        return RunFolder(path, settings, load_file(path / "expected.safetensors"),
                         load_file(noise) if lender or noise.exists() else {})

    def lender(self, name: str) -> Path:
        """Folder of the run that lends others its bits or draws."""
        for folder in (self.runs_folder, self.own_runs):
            if (folder / name).is_dir():
                return folder / name
        raise ValueError(f"{self.runs_folder}: there is no run {name!r} to borrow from")

    def _edits(self) -> bool:
        """Whether any run has a picture among its inputs."""
        files = [*self.runs_folder.glob("*/inputs.safetensors"), self.folder / "inputs.safetensors"]
        for file in files:
            if file.exists():
                with safe_open(file, "pt") as inputs:
                    if SOURCE_KEY in inputs.keys():  # noqa: SIM118  # no mapping
                        return True
        return False

    def picture(self, run: RunFolder) -> Tensor | None:
        """The picture that a run edits, [h, w, 3] uint8; None = it draws from text."""
        return self._inputs(run).get(SOURCE_KEY)

    def _inputs(self, run: RunFolder) -> dict[str, Tensor]:
        path = run.path / "inputs.safetensors"
        return load_file(path if path.exists() else self.folder / "inputs.safetensors")

    def inputs(self, run: RunFolder) -> tuple[PackedText, PackedText | None]:
        """Text features of a run and of its negative prompt."""
        tensors = self._inputs(run)
        return _packed(tensors, ""), _packed(tensors, "neg_") if "neg_lens" in tensors else None

    def bits(self, run: RunFolder) -> list[Tensor] | None:
        """The bits that a run went on with, per scale (none where it did not run one), or None if
        they were not recorded."""
        lender = run.settings.get("forced_bits_from")
        found = {} if lender else unpack_bits(run.expected)
        if run.recordings and run.recordings.bits_from and 0 not in found:
            lender = run.recordings.bits_from
        if lender:
            lent = load_file(self.lender(lender) / "expected.safetensors")
            found = unpack_bits(lent) | found
        scales = len(run.settings["scale_schedule"])
        for i in set(range(scales)) - set(run.settings.get("executed_scales", range(scales))):
            found[i] = torch.empty(0, dtype=torch.uint8)
        return [found[i] for i in range(scales)] if all(i in found for i in range(scales)) else None


def runs_beside(folder: Path) -> list[tuple[Path, Path]]:
    """Runs that lie beside a family's ``runs`` and have the weights of another family: (folder of
    the run, folder of the weights). run.json names it in words, such as "weights: ../NAME", or the
    run is named run_X after infinity_X."""
    found = []
    for path in sorted(folder.glob("run_*/run.json")):
        named = re.search(r"\.\./(\w+)", str(read_json(path).get("note", "")))
        name = named[1] if named else f"infinity_{path.parent.name.removeprefix('run_')}"
        found.append((path.parent, folder.parent / name))
    return found


def unpack_bits(tensors: dict[str, Tensor]) -> dict[int, Tensor]:
    """Recorded bits by scale, [B, N, d] uint8, whichever way they were stored."""
    found: dict[int, Tensor] = {}
    for key, tensor in tensors.items():
        kind, _, scale = key.rpartition(".")
        if kind in ("bits", "forced_bits"):
            found[int(scale)] = tensor
        elif kind in ("packed_bits", "packed_forced_bits"):
            found[int(scale)] = torch.from_numpy(np.unpackbits(tensor.numpy(), axis=-1))
    return found


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: is {path.parent} a fixture family?") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def check_settings(folder: Path, settings: dict[str, Any], model: InfinityTransformer) -> None:
    """config.json and the weights must tell the same story."""
    shape = dataclasses.asdict(model.shape)
    for theirs, ours in {"depth": "depth", "embed_dim": "width", "num_heads": "num_heads",
                         "block_chunks": "block_chunks", "text_channels": "text_channels",
                         "text_maxlen": "text_max_length"}.items():
        if theirs in settings and settings[theirs] != shape[ours]:
            raise ValueError(f"{folder / 'config.json'}: {theirs} is {settings[theirs]}, but the "
                             f"weights have {shape[ours]}")


def _packed(tensors: dict[str, Tensor], prefix: str) -> PackedText:
    return PackedText(tensors[f"{prefix}kv_compact"].float(),
                      tuple(tensors[f"{prefix}lens"].tolist()))
