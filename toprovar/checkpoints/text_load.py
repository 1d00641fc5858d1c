"""A T5 text encoder and its tokenizer from folders in transformers format, or from one file and the
tokenizer in the box; from nowhere else."""

from __future__ import annotations

import dataclasses
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.mapped import copy_weights
from .errors import CheckpointError, one_line
from .loading import LOADING
from .sources import bounded
from .text_file import box_tokenizer
from .text_folder import check_tokenizer
from .text_shape import EMBEDDING, EMBEDDING_TWIN
from .text_weights import TextWeights, inspect_text_encoder
from .values import require_finite

_SAMPLE = ("a red apple", "\u6f22 3!")
_IN_FP32 = ".wo.weight"
"""These overflow in float16, so transformers keeps them in float32 there."""


def load_text_encoder(
    folder: str | PathLike[str], tokenizer: str | PathLike[str], dtype: torch.dtype | None,
    disable_mmap: bool = False, variant: str | None = None,
) -> tuple[Any, Any]:
    """(T5EncoderModel, tokenizer) from folders in transformers format, or from one file.

    Nothing is downloaded, and no code that a folder names is run. Weights that keep their dtype
    stay views of the file, read when first used, unless they are small (``models.mapped``).

    Args:
        folder: the encoder's, or the name of a model in the local cache (google/flan-t5-xl), or a
            safetensors file with a T5 encoder.
        tokenizer: folder of the tokenizer, often the same; a file has T5's own, in the box.
        dtype: of the weights; None = as stored.
        disable_mmap: copy the weights, so that the files may change afterwards.
        variant: take the weights that were saved under this name, such as "fp16".

    Raises:
        CheckpointError: names what is missing or wrong, and in which file.
    """
    path = cached_folder(folder)
    weights = inspect_text_encoder(path, variant)
    if tokenizer == folder:
        tokenizer = box_tokenizer() if path.is_file() else path
    words = load_tokenizer(tokenizer)
    check_vocabulary(words, tokenizer, weights.path, weights.shape.vocab_size)
    return build_text_encoder(weights, dtype, disable_mmap), words


def check_vocabulary(words: Any, tokenizer: str | PathLike[str], encoder: Path, size: int) -> None:
    """Refuse a tokenizer whose tokens the encoder's ``size`` embeddings do not cover."""
    highest = max(words.get_vocab().values(), default=0)
    if highest >= size:
        raise CheckpointError(
            tokenizer, f"not the tokenizer of {encoder}: it has more words",
            expected=f"at most {size}", found=highest + 1,
        )


def load_tokenizer(folder: str | PathLike[str]) -> Any:
    """The tokenizer of a folder; errors as :func:`load_text_encoder`."""
    path = Path(folder)
    name = check_tokenizer(path)
    with LOADING:
        import transformers

        # By its class where the file's name for it differs between versions of transformers.
        own = name == "PreTrainedTokenizerFast"
        cls: Any = transformers.PreTrainedTokenizerFast if own else transformers.AutoTokenizer
        try:
            words = cls.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
            # Used once, as prompts will be: what it lacks shows here.
            tried = words(list(_SAMPLE), padding="longest", truncation=True, max_length=8)
            _ = words.unk_token_id, words.pad_token_id
            if not all(map(sum, tried.attention_mask)):
                raise ValueError("it makes no tokens of a text")
            return words
        except BaseException as error:  # the tokenizers library panics, which is no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise _tokenizer_problem(path, error) from None


def _tokenizer_problem(folder: Path, error: BaseException) -> CheckpointError:
    """What is wrong with a tokenizer: its tokenizer.json itself, or what transformers says."""
    import tokenizers

    file = folder / "tokenizer.json"
    if file.is_file():
        try:
            tokenizers.Tokenizer.from_file(str(file))
        except BaseException as own:
            if isinstance(own, (KeyboardInterrupt, SystemExit)):
                raise
            folder, error = file, own
    said = f"{type(error).__name__}: {one_line(str(error))[:300]}"
    return CheckpointError(folder, f"the tokenizer cannot be read: {said}")


def build_text_encoder(weights: TextWeights, dtype: torch.dtype | None,
                       disable_mmap: bool = False) -> Any:
    """The model of a checked text encoder, in evaluation mode on the CPU."""
    own = weights.stored_dtype() if dtype is None else dtype
    source = weights.source

    def target(name: str) -> torch.dtype:
        return torch.float32 if own == torch.float16 and name.endswith(_IN_FP32) else own

    kept = [n for n, key in weights.names.items() if source.dtype(key) == target(n)]
    state: dict[str, Tensor] = {n: source.get(weights.names[n]) for n in kept}
    source.release()  # what is kept stays mapped, what is copied passes through
    with bounded(source) as read:
        for name, key in weights.names.items():
            if name not in state:
                state[name] = weights.dequantize(name, read(key), target(name))
            require_finite(source.infos[key].file, key, state[name])
    state[EMBEDDING_TWIN] = state[EMBEDDING]
    with LOADING:
        import transformers

        with torch.device("meta"):
            config = transformers.T5Config(
                **dataclasses.asdict(weights.shape), is_encoder_decoder=False, use_cache=False
            )
            model: Any = transformers.T5EncoderModel(config)
        model.load_state_dict(state, strict=True, assign=True)
        model.set_input_embeddings(model.shared)  # one module under both names
    copy_weights(model, disable_mmap)
    return model.eval()


def cached_folder(folder: str | PathLike[str]) -> Path:
    """The folder itself, or that of a name such as google/flan-t5-xl in the local cache.

    Nothing is asked of a network; what is not there is returned as it is.
    """
    path = Path(folder)
    if path.exists() or str(folder).count("/") != 1 or path.is_absolute():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(folder), local_files_only=True))
    except Exception:  # not there, or no such name is possible
        return path
