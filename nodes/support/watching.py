"""Watches a run for ComfyUI: progress and a preview at every scale, and what reports need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .host import Progress, manager, say

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.sampling.run import ScaleState
    from .infinity import Infinity


class Watcher:
    """The engine's ``on_scale`` for one call of the pipeline.

    Args:
        steps: scales that the call will run, at most.
        preview: whether to decode small pictures.

    Attributes:
        bits: per run, {scale: [B, N, d] uint8} on the CPU.
        codes: per run, [B, d, h, w] summed codes: the run's own tensor, which goes on changing.
        recorder: has the bits as the engine's drafts hold them.
        kept: of the first run's first image, {scale: [h, w] share of layers that kept a token}.
    """

    def __init__(self, model: Infinity, steps: int, preview: bool, overlay: bool = False) -> None:
        from ...toprovar.editing.draft import Recorder

        self.model, self.preview, self.overlay = model, preview, overlay
        self.progress = Progress(steps)
        self.steps, self.total = 0, steps
        self.recorder = Recorder()
        self.bits: list[dict[int, Tensor]] = []
        self.codes: list[Tensor] = []
        self.kept: dict[int, Tensor] = {}
        self._last = -1

    def finish(self) -> None:
        """The call has ended; it may have had less to draw than was foreseen."""
        if self.steps < self.total:
            self.progress.at(self.total)

    def on_scale(self, state: ScaleState) -> None:
        from ...toprovar.previews import kept_share

        if not self.bits or state.index <= self._last:  # the next run of the same call
            self.bits.append({})
            self.codes.append(state.summed_codes)
        self._last = state.index
        self.recorder(state)
        self.bits[-1][state.index] = state.bits.cpu()
        self.codes[-1] = state.summed_codes
        if self.overlay and len(self.bits) == 1:
            share = kept_share(state)
            if share is not None:
                self.kept[state.index] = share
        self.steps += 1
        self.progress.at(self.steps, self._picture(state) if self.preview else None)

    def _picture(self, state: ScaleState) -> Image.Image | None:
        from ...toprovar.previews import small_picture

        try:
            return small_picture(self.model.vae.part.net, state.summed_codes)
        except manager.OOM_EXCEPTION:
            self.preview = False  # the run itself may do without
        say("memory ran out for previews: the rest of this run shows none")
        return None
