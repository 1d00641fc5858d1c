"""Training the transformer and its text encoder on scenes and their captions."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.transformer import InfinityTransformer
from training.compiling import compile_blocks, compiled, uncompiled
from training.data.atlas import SpriteAtlas
from training.data.captions import canonical
from training.data.scene_batch import SceneBatch
from training.data.scenes import sample_scenes
from training.data.tokenizer import CaptionEncoder, word_ids
from training.forward import Conditioning, Layout, block_forward, condition, forward
from training.initialise import initialise_transformer
from training.journal import save_sheet
from training.losses import bit_loss, bit_losses, per_scale, token_weights
from training.optim import build_optimizers
from training.sampler import sample_codes
from training.settings import TransformerSettings, View
from training.stream import Batch, make_batch, to_unit
from training.targets import Targets, teacher_forcing
from training.text_encoder import build_text_encoder, encode_text, with_null_text

_CHECK_SEED = 20_002
_PIECE = 32
_DRAWN = 16
_SHOWN = 512
_COARSE = 3
_ENCODED_PIXELS = 256 * 256**2


class TransformerStage:
    """Transformer and text encoder, their optimisers, and the frozen autoencoder."""

    def __init__(
        self, settings: TransformerSettings, vae: InfinityAutoencoder, atlas: SpriteAtlas,
        device: torch.device,
    ) -> None:
        if vae.shape.latent_channels != settings.model.bits_per_token:
            raise ValueError(
                f"the autoencoder has {vae.shape.latent_channels} bits, the transformer "
                f"{settings.model.bits_per_token}"
            )
        self.settings, self.atlas, self.device = settings, atlas, device
        run = settings.run
        self.dtype = getattr(torch, run.compute)
        nn.Module.to(vae, device)
        self.vae = vae
        # Only encodes: bf16 is enough to tell a latent's signs, and quick.
        self._encoder = copy.deepcopy(self.vae.encoder).to(device, self.dtype)
        self._encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if run.compile:
            compile_blocks(self._encoder)
        self._run_block = compiled(block_forward, run.compile)

        self.model = InfinityTransformer.from_shape(settings.model)
        initialise_transformer(self.model, run.seed)
        self.text = build_text_encoder(settings.text, run.seed)
        self.modules: dict[str, nn.Module] = {
            "transformer": self.model, "text_encoder": self.text
        }
        for module in self.modules.values():
            module.to(device)
        named = [
            (f"{name}.{key}", p)
            for name, module in self.modules.items()
            for key, p in module.named_parameters()
        ]
        self.optimizers = build_optimizers(named, settings.optimizer)
        self.captions = CaptionEncoder(settings.text.length)
        self._bank: dict[tuple[View, int], Tensor] = {}
        self._layout = lru_cache(maxsize=None)(self._make_layout)

    def _encoded(self, images: Tensor) -> Tensor:
        """Latents, float32 [B, d, h, w]; batches of any size in pieces of one."""
        found = []
        for piece in images.split(max(1, _ENCODED_PIXELS // images.shape[-1] ** 2)):
            folded = F.pixel_unshuffle(to_unit(piece).to(self.dtype), self.vae.shape.stem_patch)
            folded = folded.contiguous(memory_format=torch.channels_last)
            found.append(self._encoder(folded).float())
        return torch.cat(found)

    def _make_layout(self, view: View) -> tuple[Layout, Tensor]:
        head_dim = self.settings.model.head_dim
        layout = Layout.of(view.schedule, view.scale_count, head_dim, self.device)
        return layout, token_weights(layout, self.settings.loss.scale_power)

    @torch.no_grad()
    def targets(self, batch: Batch, generator: torch.Generator | None) -> Targets:
        """True bits and inputs of a batch; bits are spoilt only with a generator."""
        latent = self._latent(batch)
        flip = None
        if generator is not None and self.settings.loss.flip_max > 0:
            flip = torch.rand(len(latent), generator=generator, device=self.device)
            flip = flip * self.settings.loss.flip_max
        schedule = batch.view.schedule
        return teacher_forcing(latent, schedule.grids, batch.view.scale_count, flip, generator)

    def _latent(self, batch: Batch) -> Tensor:
        """The batch's latents, from the view's bank where they came before."""
        if batch.slot is None:
            return self._encoded(batch.images)
        place = (batch.view, batch.slot)
        if place not in self._bank:
            self._bank[place] = self._encoded(batch.images)
        return self._bank[place]

    def conditioning(self, batch: Batch, generator: torch.Generator | None) -> Conditioning:
        features, mask = encode_text(self.text, batch.ids, batch.lengths)
        if generator is not None:
            features, mask = with_null_text(
                features, mask, self.model.null_text, self.settings.loss.null_share, generator
            )
        return condition(self.model, features, mask)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        layout, weights = self._layout(batch.view)
        with nullcontext() if batch.view.compiled else uncompiled():
            targets = self.targets(batch, generator)
            text = self.conditioning(batch, generator)
            logits = forward(
                self.model, text, targets.inputs, layout, self.dtype, self._run_block
            )
        each = bit_loss(logits, targets.bits)
        return (each * weights).sum(), {"scales": per_scale(each.detach(), layout)}

    @torch.no_grad()
    @uncompiled()
    def check(self, sheet: Path) -> dict[str, Any]:
        """Held-out loss without spoilt bits, order of two objects, a sheet of samples."""
        run = self.settings.run
        whole = {v.pn: v for v in run.views if v.scale_count == len(v.schedule)} or {
            run.views[0].pn: run.views[0]}
        found: dict[str, Any] = {}
        for number, view in enumerate(whole.values()):
            # The first view is told scale by scale, the others by their mean.
            count = run.eval_images if not number else max(2, run.eval_images // 4)
            for split in ("eval", "heldout"):
                scenes = sample_scenes(count, _CHECK_SEED, split, salt=view.salt)
                few = max(1, _PIECE * 512**2 // max(view.size, 512) ** 2)
                parts = [self._held_out(scenes[i : i + few], view)
                         for i in range(0, len(scenes), few)]
                scales = torch.stack(parts).mean(0)
                found |= {f"{split}_scales": scales.tolist()} if not number else {
                    f"{split}_{view.size}": scales.mean().item()}
        found["order"] = self._order(run.views[0])
        self._sheet(sheet, sample_scenes(run.sheet_images, _CHECK_SEED, "eval"),
                    list(whole.values()))
        return found

    def _order(self, view: View) -> float:
        """How often the coarse scales of two placed objects are likelier under their caption
        than under the one that exchanges the sides; 0.5 is chance."""
        scenes = sample_scenes(
            self.settings.run.eval_images, _CHECK_SEED, "eval", {"position": 1.0}
        )
        coarse = replace(view, scales=min(_COARSE, view.scale_count))
        layout, _ = self._layout(coarse)
        true = make_batch(scenes, coarse, self.atlas, self.captions)
        wrong = make_batch(replace(scenes, relation=scenes.relation ^ 1), coarse, self.atlas,
                           self.captions, draw=False)
        targets = self.targets(true, None)
        losses = []
        for batch in (true, wrong):
            logits = forward(
                self.model, self.conditioning(batch, None), targets.inputs, layout, self.dtype
            )
            losses.append(bit_losses(logits, targets.bits).sum((1, 2)))
        return (losses[0] < losses[1]).float().mean().item()

    def _held_out(self, scenes: SceneBatch, view: View) -> Tensor:
        batch = make_batch(scenes, view, self.atlas, self.captions)
        schedule = view.schedule
        latent = self._encoded(batch.images)
        targets = teacher_forcing(latent, schedule.grids, view.scale_count)
        layout, _ = self._layout(view)
        text = self.conditioning(batch, None)
        logits = forward(self.model, text, targets.inputs, layout, self.dtype)
        return per_scale(bit_loss(logits, targets.bits), layout)

    def _sheet(self, path: Path, scenes: SceneBatch, views: list[View]) -> None:
        """The same captions at every size, a size after the other, shown at 512 pixels at most."""
        prompts = canonical(scenes)
        side = min(_SHOWN, max(view.size for view in views))
        rows = []
        for view in views:
            made = torch.cat([self.draw(prompts[i : i + _DRAWN], view, seed=i)
                              for i in range(0, len(prompts), _DRAWN)])
            rows.append(F.interpolate(made.float(), (side, side), mode="area"))
        save_sheet(path, torch.cat(rows), 8, prompts * len(views))

    @torch.no_grad()
    def draw(self, prompts: list[str], view: View, seed: int = 0) -> Tensor:
        """Pictures for prompts with the weights now in the modules: [B, 3, S, S]."""
        ids, lengths = (t.to(self.device) for t in self.captions.encode(prompts))
        features, mask = encode_text(self.text, ids, lengths)
        generator = torch.Generator(self.device).manual_seed(seed)
        codes = sample_codes(
            self.model, features, mask, view.schedule, self.settings.cfg, self.settings.tau,
            generator,
        )
        few = max(1, _PIECE * 256**2 // view.size**2)
        return torch.cat([self.vae.decode(piece) for piece in codes.split(few)])

    def describe(self) -> dict[str, Any]:
        return {
            "transformer": self.settings.model.to_dict(),
            "text_encoder": vars(self.settings.text),
            "words": list(word_ids()),
        }
