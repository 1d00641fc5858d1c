"""What travels between the nodes: a loaded model, its text encoder, encoded prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .host import Part, load, manager, say, unload
from .launch import records
from .vae import InfinityVAE

if TYPE_CHECKING:
    from ...toprovar.memory.request import Allowance
    from ...toprovar.memory.residency import Placed
    from ...toprovar.models.text import PackedText
    from ...toprovar.sampling.params import EngineOptions
    from ...toprovar.schedules import ScaleSchedule
    from ...toprovar.sparsity.plan import SparsityPlan
    from ...toprovar.sparsity.planner import Planner
    from .patchers import BlocksPart
    from .residing import Residing
    from .worded import WordedPipeline

TEXT_BYTES = 256 << 20
"""Room for encoding a prompt, generously."""


@dataclass(frozen=True)
class Infinity:
    """A loaded model: the socket INFINITY.

    Attributes:
        name: for the reader.
        pipeline: the engine's; its networks are in the parts' care.
        transformer, text_encoder, vae: the same networks, as ComfyUI's memory manager knows them.
        residing: plans how much of the transformer is on its device.
        attention: attention backend.
        narrow_cache: whether keys and values are kept in 8 bits.
    """

    name: str
    pipeline: WordedPipeline
    transformer: BlocksPart
    text_encoder: Part
    vae: InfinityVAE
    residing: Residing
    attention: str = "auto"
    narrow_cache: bool = False

    @property
    def options(self) -> EngineOptions:
        from ...toprovar.ops.fp8 import E4M3
        from ...toprovar.sampling.params import EngineOptions

        return EngineOptions(attention_backend=self.attention,
                             cache_dtype=E4M3 if self.narrow_cache else None, graphs=records())

    def __repr__(self) -> str:  # ComfyUI puts it into error reports
        return f"<Infinity model {self.name}>"

    @property
    def default_pn(self) -> str:
        return str(self.pipeline.config["default_pn"])

    @property
    def encoder(self) -> TextEncoder:
        from ...toprovar.models.text_encoder import MAX_TEXT_TOKENS

        limit = min(MAX_TEXT_TOKENS, self.pipeline.transformer.shape.text_max_length)
        return TextEncoder(self.text_encoder, self.pipeline.tokenizer, limit, self)

    def guided(self, cfg: float) -> bool:
        """Whether a guidance of ``cfg`` (0 = the model's own) runs unconditional rows."""
        return (cfg or self.pipeline.config["default_cfg"]) != 1

    @property
    def decodes(self) -> bool:
        """Whether a run can decode, too: the VAE works where the transformer does."""
        return self.vae.device == self.residing.device

    def place(self, schedule: ScaleSchedule, images: int, guided: bool,
              plan: Planner | None = None, pictures: bool = False, with_vae: bool = False,
              beside: int = 0, **about: bool) -> Placed | None:
        """Have ComfyUI make room for a run, and bring the transformer to its device as far as it
        fits there; the node shows how.

        Args:
            pictures: whether the run decodes; with_vae: whether the VAE takes part otherwise.
            beside: bytes that the run must leave to the caller.
            about: further fields of ``Request``, such as ``runs_again``.

        Returns:
            how to compute, which a pipeline call finds out by itself; None = as the caller likes.

        Raises:
            torch.OutOfMemoryError: it cannot fit the limit.
        """
        from ...toprovar.pipeline_memory import request_of

        residing = self.residing
        residing.kept_free = beside
        request = request_of(self.pipeline, plan, self.options, schedule, images, guided,
                             pictures=pictures, **about)
        room = residing.room(request)
        if self.text_encoder.there and residing.crowded(room, self.text_encoder.net):
            unload(self.text_encoder)
        vae = [self.vae.part] if pictures or with_vae else []
        self._load([self.transformer, *vae], room, residing.share(request))
        placed = residing.prepared(request)
        if placed is not None:
            say(f"memory: {placed.plan}")
        return placed

    def _load(self, parts: list[Part], room: int, brings: int) -> None:
        """Parts to their devices, but for the transformer, which comes with the run as far as there
        is room by then. It makes room where the others do not get there."""
        with self.transformer.left_to_the_run(brings):
            try:
                load(parts, room)
            except manager.OOM_EXCEPTION:
                pass
            else:
                return
            self.transformer.patcher.detach()
            load(parts, room)


@dataclass(frozen=True)
class TextEncoder:
    """A T5 encoder and its tokenizer: the socket INFINITY_TEXT_ENCODER.

    Attributes:
        limit: longest prompt in text tokens.
        model: that it was loaded with, which makes room within a limit of memory.
    """

    part: Part
    tokenizer: Any
    limit: int
    model: Infinity

    def __repr__(self) -> str:
        return "<T5 text encoder of Infinity>"

    def encode(self, prompts: list[str], weights: bool = False) -> Prompts:
        from ...toprovar.models.text_encoder import encode_prompts

        self._make_room()
        load([self.part], TEXT_BYTES)
        features = encode_prompts(prompts, self.tokenizer, self.part.net, self.limit,
                                  graph=records(), weights=weights)
        return Prompts(tuple(prompts), features.to("cpu"), weights)

    def _make_room(self) -> None:
        """Have the transformer leave as much as a limit of memory asks for; what is free without
        one, ComfyUI sees to."""
        residing, transformer = self.model.residing, self.model.transformer
        if self.part.device != residing.device or not transformer.there:
            return
        own = 0 if self.part.there else int(self.part.patcher.model_size())
        over = residing.over(own + TEXT_BYTES)
        if over:
            transformer.make_room(over)


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts: the socket INFINITY_CONDITIONING.

    Attributes:
        weights: whether ``(word:1.2)`` was read as a weight.
    """

    texts: tuple[str, ...]
    features: PackedText
    weights: bool = False

    def times(self, count: int) -> Prompts:
        """One prompt ``count`` times."""
        if count == 1:
            return self
        features = self.features.repeat_each(count)
        return Prompts(self.texts * count, replace(features, notes=self.features.notes),
                       self.weights)

    def __repr__(self) -> str:
        from ...toprovar.printable import one_line

        return f"<prompts {one_line(', '.join(self.texts)[:200])}>"


@dataclass(frozen=True)
class PlanChoice:
    """How a run is accelerated: the socket INFINITY_PLAN.

    Attributes:
        plan: made before the run, or a strategy that plans inside it.
        schedule: the size that it was made for.
    """

    plan: Planner
    schedule: ScaleSchedule

    def __repr__(self) -> str:
        from ...toprovar.printable import one_line

        made = getattr(self.plan, "strategy", None) or getattr(self.plan, "name", "")
        return f"<{one_line(made)} plan for {self.schedule.pn} {self.schedule.template}>"

    @property
    def fixed(self) -> SparsityPlan | None:
        """The plan, where it is known before the run."""
        from ...toprovar.sparsity.plan import SparsityPlan

        return self.plan if isinstance(self.plan, SparsityPlan) else None


def make_parts(name: str, pipeline: WordedPipeline, allowance: Allowance, attention: str,
               narrow_cache: bool) -> Infinity:
    """A pipeline with its networks in the care of ComfyUI's memory manager.

    Args:
        allowance: how much memory may be used, and how.
        attention, narrow_cache: see ``Infinity``.
    """
    from ...toprovar.models import text_runner
    from .patchers import blocks_part, whole_part
    from .residing import Residing

    device = manager.get_torch_device()
    encoder = pipeline.text_encoder
    pipeline.residency = residing = Residing(pipeline, device, allowance)
    transformer = blocks_part(pipeline.transformer, device, manager.unet_offload_device(),
                              residing.moved)
    text = whole_part(encoder, manager.text_encoder_device(),
                      manager.text_encoder_offload_device(),
                      lambda: text_runner.forget_recordings(encoder))
    vae = whole_part(pipeline.vae, manager.vae_device(), manager.vae_offload_device())
    return Infinity(name, pipeline, transformer, text, InfinityVAE(vae), residing, attention,
                    narrow_cache)
