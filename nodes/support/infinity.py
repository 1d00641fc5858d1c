"""What travels between the nodes: a loaded model, its text encoder, encoded prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .host import Part, load, manager
from .vae import InfinityVAE

if TYPE_CHECKING:
    from ...toprovar.models.text import PackedText
    from ...toprovar.pipeline import InfinityPipeline
    from ...toprovar.sampling.params import EngineOptions
    from ...toprovar.schedules import ScaleSchedule
    from ...toprovar.sparsity.plan import SparsityPlan
    from ...toprovar.sparsity.planner import Planner

TEXT_BYTES = 256 << 20
"""Room for encoding a prompt, generously."""


@dataclass(frozen=True)
class Infinity:
    """A loaded model: the socket INFINITY.

    Attributes:
        name: for the reader.
        pipeline: the engine's; its networks are in the parts' care.
        transformer, vae: the same networks, as ComfyUI's memory manager knows them.
        attention: attention backend.
        narrow_cache: whether keys and values are kept in 8 bits.
    """

    name: str
    pipeline: InfinityPipeline
    transformer: Part
    vae: InfinityVAE
    attention: str = "auto"
    narrow_cache: bool = False

    @property
    def options(self) -> EngineOptions:
        from ...toprovar.ops.fp8 import E4M3
        from ...toprovar.sampling.params import EngineOptions

        return EngineOptions(attention_backend=self.attention,
                             cache_dtype=E4M3 if self.narrow_cache else None)

    def __repr__(self) -> str:  # ComfyUI puts it into error reports
        return f"<Infinity model {self.name}>"

    @property
    def default_pn(self) -> str:
        return str(self.pipeline.config["default_pn"])

    def guided(self, cfg: float) -> bool:
        """Whether a guidance of ``cfg`` (0 = the model's own) runs unconditional rows."""
        return (cfg or self.pipeline.config["default_cfg"]) != 1

    def wake(self, schedule: ScaleSchedule, rows: int, plan: SparsityPlan | None = None,
             with_vae: bool = False) -> None:
        """Bring the transformer, and the VAE if it takes part, to their devices, with room for a
        run of ``rows`` images, twice with guidance."""
        from ...toprovar.working_memory import run_bytes

        room = run_bytes(self.pipeline.transformer, schedule, rows, plan, self.narrow_cache)
        load([self.transformer, *([self.vae.part] if with_vae else [])], room)


@dataclass(frozen=True)
class TextEncoder:
    """A T5 encoder and its tokenizer: the socket INFINITY_TEXT_ENCODER.

    Attributes:
        limit: longest prompt in text tokens.
    """

    part: Part
    tokenizer: Any
    limit: int

    def __repr__(self) -> str:
        return "<T5 text encoder of Infinity>"

    def encode(self, prompts: list[str], weights: bool = False) -> Prompts:
        from ...toprovar.models.text_encoder import encode_prompts

        load([self.part], TEXT_BYTES)
        features = encode_prompts(prompts, self.tokenizer, self.part.net, self.limit,
                                  weights=weights)
        return Prompts(tuple(prompts), features.to("cpu"))


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts: the socket INFINITY_CONDITIONING."""

    texts: tuple[str, ...]
    features: PackedText

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


def make_parts(pipeline: InfinityPipeline) -> tuple[Part, InfinityVAE]:
    """The transformer and the VAE in the care of ComfyUI's memory manager."""
    transformer = Part(pipeline.transformer, manager.get_torch_device(),
                       manager.unet_offload_device())
    vae = Part(pipeline.vae, manager.vae_device(), manager.vae_offload_device())
    return transformer, InfinityVAE(vae)
