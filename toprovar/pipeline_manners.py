"""What people know from diffusers' own pipelines, where it means something for this one."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, NoReturn

import diffusers
import torch
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from .memory.request import Allowance
from .memory.residency import Residency
from .models.text import PackedText
from .pipeline_calls import CallsInFlight
from .pipeline_pretrained import CheckedLoading

TILE = 32
"""Latent pixels a side, of ``enable_vae_tiling``: 512 pixels of the picture."""


class DiffusersManners(CallsInFlight, CheckedLoading):
    """Base of the pipeline."""

    _vae_tile: int | None = None
    _residency: Residency | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """``DiffusionPipeline.from_pretrained`` looks up the class of a folder in diffusers."""
        super().__init_subclass__(**kwargs)
        if not hasattr(diffusers, cls.__name__):
            setattr(diffusers, cls.__name__, cls)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _not_compiled(name, value))

    @cached_property
    def image_processor(self) -> VaeImageProcessor:
        """Makes pictures of the tensors that ``vae.decode`` returns: ``postprocess(image,
        output_type)``."""
        return VaeImageProcessor(vae_scale_factor=self.vae.shape.stride)

    def enable_vae_tiling(self, tile: int = TILE) -> None:
        """Decode pictures in overlapping tiles from now on. This needs less memory and changes
        pixels a little.

        Args:
            tile: the side of a tile in latent pixels, at least 4. ``vae_tile`` of a call goes
                before it.

        Raises:
            ValueError: ``tile`` is below 4.
        """
        if tile < 4:
            raise ValueError(f"tile must be at least 4 latent pixels, got {tile}")
        self._vae_tile = tile

    def disable_vae_tiling(self) -> None:
        """Decode pictures as a whole again."""
        self._vae_tile = None

    def enable_sequential_cpu_offload(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not available: it always raises.

        Raises:
            ValueError: names the methods to use instead.
        """
        raise ValueError(
            "enable_sequential_cpu_offload() moves modules when their forward is called, and this "
            "engine reads the blocks' weights itself: use enable_model_cpu_offload(), or "
            "toprovar.sampling.streaming.stream_blocks(pipe.transformer, 'cuda'), which keeps the "
            "blocks in host memory and brings them one by one ('--stream 0' of the command line)"
        )

    def manage_memory(self, device: str | torch.device = "cuda", memory: str = "auto") -> None:
        """Let the pipeline place its parts by itself, now and again before each call that needs
        more room: parts that fit stay on the device, the others wait in host memory. Pictures stay
        the same bit by bit unless 8-bit numbers are used. :meth:`to` ends this.

        Args:
            device: the GPU.
            memory: "auto" = use 8-bit numbers only where nothing else fits. "exact" = never use
                them. "8-bit" = use them also to save time. A limit such as "6GB", also "6GB exact",
                is the memory that may be used. See docs/guide/small-cards.md.

        Raises:
            ValueError: ``memory`` is none of these.
        """
        allowance = Allowance.parse(memory)
        self.remove_all_hooks()
        self._residency = Residency(self, _numbered(torch.device(device)), allowance)  # type: ignore[arg-type]  # the pipeline
        self._residency.settle()

    def enable_model_cpu_offload(self, gpu_id: int | None = None,
                                 device: torch.device | str | None = None,
                                 memory: str = "auto") -> None:
        """Let parts of the pipeline wait in host memory while they are not needed.

        On an NVIDIA GPU this is :meth:`manage_memory`, which leaves there whatever fits. On other
        devices it is the method of diffusers, which moves whole parts.

        Args:
            gpu_id: the number of the GPU.
            device: the device as a text or a ``torch.device``, in place of ``gpu_id``.
            memory: as in :meth:`manage_memory`.

        Raises:
            ValueError: ``gpu_id`` and ``device`` name different GPUs, or ``memory`` cannot be read.
        """
        where = torch.device("cuda" if device is None and torch.cuda.is_available()
                             else device or "cpu")
        if where.type != "cuda":
            super().enable_model_cpu_offload(gpu_id=gpu_id, **(
                {} if device is None else {"device": device}))  # type: ignore[arg-type]  # its own default
            return
        if gpu_id is not None:
            if where.index not in (None, gpu_id):
                raise ValueError(f"gpu_id={gpu_id} and device={where}: give one of them")
            where = torch.device("cuda", gpu_id)
        self.manage_memory(where, memory)

    @property
    def residency(self) -> Residency | None:
        """The object that plans the memory of calls. None = parts are on a CPU, or are moved by
        hooks."""
        if self._residency is None:
            device = self._execution_device
            hooked = any(hasattr(part, "_hf_hook") for part in self.components.values())
            if device.type != "cuda" or hooked:
                return None
            self._residency = Residency(self, _numbered(device), moves=())  # type: ignore[arg-type]  # the pipeline
        return self._residency

    @residency.setter
    def residency(self, value: Residency | None) -> None:
        self._residency = value

    @property
    def _execution_device(self) -> torch.device:
        if self._residency is not None and self._residency.moves:
            return self._residency.device
        return super()._execution_device  # type: ignore[misc]  # a property of diffusers

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or cast all parts as ``torch.nn.Module.to`` does. It ends :meth:`manage_memory`."""
        residency, self._residency = self._residency, None
        if residency is not None and residency.moves:
            residency.leave()
        return super().to(*args, **kwargs)

    def wake(self, name: str, device: torch.device) -> None:
        """Bring a component to the device where model offload is on. Its hooks act on ``forward``,
        which these components do not have.

        Args:
            name: "transformer", "vae" or "text_encoder".
            device: where the computation takes place.
        """
        module = getattr(self, name)
        if getattr(module, "_compiled_call_impl", None) is not None:  # by module.compile()
            _tell_compiled(name)
        hook = getattr(module, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(module)


def _numbered(device: torch.device) -> torch.device:
    """The device as its tensors have it: "cuda" is the current GPU."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def refuse_latents(latents: Any) -> None:
    """ValueError if a call was given ``latents``."""
    if latents is not None:
        raise ValueError(
            "latents: this model starts from the text, not from noise, so a call takes none. For "
            "other draws give seed or generator; to change the summed codes between two scales "
            "return {'latents': ...} from callback_on_step_end"
        )


def one_text(name: str, text: Any, features: PackedText | None, embeds: Any, mask: Any = None
             ) -> PackedText | None:
    """Features that a call was given in place of text, under this project's name or diffusers'.

    Args:
        name: "prompt" or "negative_prompt", for messages.
        embeds: as from ``encode_prompt``, or [B, L, C] with ``mask`` [B, L], 1 for real tokens
            (None = all are).

    Raises:
        ValueError: more than one of text, features and embeds; or impossible shapes.
    """
    given = [what for what, value in ((name, text), ("its features", features),
                                      (f"{name}_embeds", embeds)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"give either {' or '.join(given)}, not both")
    if embeds is None:
        if mask is not None:
            raise ValueError(f"{name}_attention_mask is of {name}_embeds, which is not given")
        return features
    if isinstance(embeds, PackedText):
        return embeds
    if not isinstance(embeds, Tensor) or embeds.ndim != 3:
        found = list(embeds.shape) if isinstance(embeds, Tensor) else type(embeds).__name__
        raise ValueError(f"{name}_embeds must be [prompts, tokens, channels] or what encode_prompt "
                         f"returns, got {found}")
    if mask is None:
        return PackedText(embeds.flatten(0, 1), (embeds.shape[1],) * len(embeds))
    if tuple(mask.shape) != tuple(embeds.shape[:2]):
        raise ValueError(f"{name}_attention_mask must be {list(embeds.shape[:2])} as "
                         f"{name}_embeds, got {list(mask.shape)}")
    real = mask.to(embeds.device, torch.bool)
    return PackedText(embeds[real], tuple(int(n) for n in real.sum(-1)))


def _not_compiled(name: str, value: Any) -> Any:
    """The module itself where a compiled one is given that the engine would never call."""
    inner = getattr(value, "_orig_mod", None) if name in ("transformer", "vae") else None
    if inner is None:
        return value
    _tell_compiled(name)
    return inner


def _tell_compiled(name: str) -> None:
    warnings.warn(
        f"torch.compile has no effect on {name} and is left out: the engine does not call its "
        "forward, it runs kernels of its own and records them as CUDA graphs "
        "(see docs/research/gpu.md)",
        stacklevel=4,
    )
