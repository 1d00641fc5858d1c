"""A pipeline from files that are at hand, checked first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from typing_extensions import Self

    from .pipeline import InfinityPipeline


def load_pipeline(model: str | Path | None = None, device: str = "auto", dtype: str = "auto",
                  memory: str = "auto") -> InfinityPipeline:
    """A model folder as a pipeline that is ready to draw, on the best device of this machine.

    Args:
        model: a folder of ``toprovar convert`` or ``save_pretrained``; None = the embedded model.
        device: "auto" = an NVIDIA or AMD GPU, else Apple's, else the CPU; or a device by name.
        dtype: "auto" = float32 on a CPU, bfloat16 on a GPU that has it, else float16; or a dtype
            by name.
        memory: how much of a GPU's memory may be used, such as "8GB"; what does not fit waits in
            the memory of the host. "auto" = what is free. Other devices take "auto" only.

    Raises:
        ValueError: the folder holds no such model, or this machine has no such device.
    """
    from .bundled import bundled_model
    from .pipeline import InfinityPipeline

    place, numbers = chosen_place(device, dtype, memory)
    pipeline = InfinityPipeline.from_folder(bundled_model() if model is None else model, numbers)
    return placed(pipeline, place, memory)


def chosen_place(device: str, dtype: str, memory: str) -> tuple[torch.device, torch.dtype]:
    """The device and the dtype of the arguments of :func:`load_pipeline`.

    Raises:
        ValueError: this machine has no such device, or there is no such dtype, or a choice of
            memory means nothing on the device.
    """
    from .devices import choose_device, choose_dtype
    from .memory.request import Allowance

    place = choose_device(device)
    if Allowance.parse(memory) != Allowance() and place.type != "cuda":
        raise ValueError(f"memory {memory!r} has no effect on {place}: leave it out")
    return place, choose_dtype(dtype, place)


def placed(pipeline: InfinityPipeline, place: torch.device, memory: str = "auto"
           ) -> InfinityPipeline:
    """The pipeline on a device, of whose memory it uses as much as is allowed."""
    if place.type == "cuda":
        pipeline.manage_memory(place, memory)
        return pipeline
    return pipeline.to(place)


class LocalLoading:
    """Base of the pipeline: ``from_official`` and ``from_folder``."""

    @classmethod
    def from_official(
        cls,
        transformer: str | Path,
        vae: str | Path,
        text_encoder: str | Path,
        *,
        tokenizer: str | Path | None = None,
        torch_dtype: torch.dtype | None = None,
        disable_mmap: bool = False,
        family: str | None = None,
        **defaults: Any,
    ) -> Self:
        """Build a pipeline from the officially released files.

        Every key and shape is checked first. Pickled files are read by a restricted reader that
        runs no code of theirs.

        Args:
            transformer: the transformer's file, such as ``infinity_2b_reg.pth``, or a folder of
                shards, such as ``infinity_8b_weights``.
            vae: the autoencoder's file, such as ``infinity_vae_d32reg.pth``.
            text_encoder: a folder of flan-t5-xl in the format of transformers, one safetensors file
                of it, or its name on the Hugging Face Hub if it is in the local cache.
            tokenizer: the folder of its tokenizer. None = the one that belongs to the text encoder.
            torch_dtype: the dtype of the blocks, the autoencoder and the text encoder. None = as
                stored.
            disable_mmap: True = copy all weights into memory, so that the files may change
                afterwards.
            family: "varedit" for a model that edits pictures by an instruction, which its file does
                not show. None = "infinity".
            defaults: ``default_pn``, ``default_cfg`` and ``default_tau`` of the pipeline. Those
                left out are the ones of the recognised variant; for VAREdit the size is taken from
                the file's name.

        Raises:
            ValueError: a file is damaged, unsafe, or of another model; the message names the file
                and the fault.
        """
        from .checkpoints.families import size_hint
        from .checkpoints.load import load_autoencoder, load_transformer
        from .checkpoints.text_load import load_text_encoder
        from .models.variants import default_sampling

        vae_module = load_autoencoder(vae, dtype=torch_dtype, disable_mmap=disable_mmap)
        module = load_transformer(
            transformer, dtype=torch_dtype, vae_channels=vae_module.shape.latent_channels,
            disable_mmap=disable_mmap, family=family,
        )
        hint = size_hint(Path(transformer)) if module.shape.edits else None
        if hint is not None:
            defaults.setdefault("default_pn", hint)
        for name, value in default_sampling(module.shape).items():
            defaults.setdefault(name, value)
        encoder, its_tokenizer = load_text_encoder(
            text_encoder, tokenizer or text_encoder, torch_dtype, disable_mmap
        )
        made: Any = cls
        return made(module, vae_module, encoder, its_tokenizer, **defaults)

    @classmethod
    def from_folder(
        cls, folder: str | Path, torch_dtype: torch.dtype | None = None, *,
        disable_mmap: bool = False, variant: str | None = None, family: str | None = None,
    ) -> Self:
        """Load a folder of a pipeline in the layout of diffusers, as ``toprovar convert`` and
        ``save_pretrained`` write it.

        It does the work of ``from_pretrained`` for local folders, with loaders of this package:
        every key and shape is checked first, and there is no second copy of the weights in memory.

        Args:
            folder: the folder; :func:`toprovar.bundled_model` names that of the embedded model.
            torch_dtype: the dtype of the blocks, the autoencoder and the text encoder. None = as
                stored.
            disable_mmap: True = copy all weights into memory, so that the files may change
                afterwards.
            variant: a name under which other weights of every component were saved, such as "fp16".
            family: "infinity" or "varedit". It goes before the family in the folder's config.json,
                and brings its own guidance and temperature. None = as the folder says.

        Raises:
            ValueError: the folder is no pipeline, a component has no weights of that variant, or a
                file is damaged; the message names it.
        """
        from .checkpoints.load import load_autoencoder, load_transformer
        from .checkpoints.pipeline_index import read_defaults
        from .checkpoints.text_load import load_text_encoder
        from .models.variants import default_sampling

        folder = Path(folder)
        defaults = read_defaults(folder)
        vae = load_autoencoder(folder / "vae", dtype=torch_dtype, disable_mmap=disable_mmap,
                               variant=variant)
        transformer = load_transformer(
            folder / "transformer", dtype=torch_dtype, vae_channels=vae.shape.latent_channels,
            disable_mmap=disable_mmap, variant=variant, family=family,
        )
        if family is not None:
            own = default_sampling(transformer.shape)
            defaults |= {name: value for name, value in own.items() if name != "default_pn"}
        encoder = tokenizer = None
        if (folder / "text_encoder").is_dir():
            encoder, tokenizer = load_text_encoder(
                folder / "text_encoder", folder / "tokenizer", torch_dtype, disable_mmap, variant
            )
        made: Any = cls
        return made(transformer, vae, encoder, tokenizer, **defaults)
