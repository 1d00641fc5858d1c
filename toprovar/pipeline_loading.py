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
    from .devices import choose_device, choose_dtype
    from .pipeline import InfinityPipeline

    place = choose_device(device)
    if place.type != "cuda" and memory != "auto":
        raise ValueError(f"memory {memory!r}: there is nothing to choose on {place}, leave it out")
    pipeline = InfinityPipeline.from_folder(bundled_model() if model is None else model,
                                            choose_dtype(dtype, place))
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
        """Build from the officially released files.

        Args:
            transformer: ``infinity_2b_reg.pth``, the folder ``infinity_8b_weights`` ...
            vae: ``infinity_vae_d32reg.pth`` ...
            text_encoder: folder of flan-t5-xl in transformers format (or its name on the hub, if
                it is in the local cache).
            tokenizer: folder of its tokenizer; None = that of the text encoder.
            torch_dtype: dtype of the blocks, the VAE and the text encoder; None = as stored.
            disable_mmap: copy all weights, so that the files may change afterwards.
            family: "varedit" for a model that edits pictures, which its file does not show; see
                ``load_transformer``.
            defaults: ``default_pn``, ``default_cfg``, ``default_tau``; those of the recognised
                variant if left out, and of VAREdit the size in the file's name.
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
        """Load a pipeline folder with every key and shape checked first, and little memory.

        What ``from_pretrained`` does for local folders, with this package's own loaders: clearer
        errors, no second copy of the weights, and ``torch_dtype=None`` keeps the files' dtypes.
        ``disable_mmap`` copies all weights, so that the files may change afterwards. ``variant``
        takes the weights that were saved under this name, such as "fp16", of every component; a
        ValueError names a component that has none. ``family`` goes before what the folder's
        config.json says ("varedit" or "infinity"), and brings its own guidance and temperature.
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
