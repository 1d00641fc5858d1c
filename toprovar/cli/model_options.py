"""Options of every command that runs a model: which one, where, and at what size."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any

from ..printable import printable
from .early import check_model

if TYPE_CHECKING:
    import torch

    from ..pipeline import InfinityPipeline
    from ..sampling.params import EngineOptions
    from ..schedules import ScaleSchedule


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR",
                        help="pipeline folder (default: the embedded model)")
    parser.add_argument("--disable-mmap", action="store_true",
                        help="copy all weights into memory, so that their files may change")
    official = parser.add_argument_group("official checkpoints, instead of --model")
    add = official.add_argument
    add("--transformer", metavar="PATH", help="transformer file or folder (default: none)")
    add("--vae", metavar="FILE", help="VAE file (default: none)")
    add("--text-encoder", metavar="PATH", help="flan-t5-xl, a folder or one .safetensors file "
        "(default: none)")
    add_family(official)


def add_family(parser: Any) -> None:
    """The option, for a parser or a group of one."""
    parser.add_argument(
        "--family", metavar="NAME", choices=("infinity", "varedit"),
        help="what the transformer was trained for: infinity (drawing from text) or varedit "
             "(editing a picture by an instruction), which its weights do not show (default: as a "
             "converted folder says, or infinity)")


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--word-weights", action=argparse.BooleanOptionalAction,
        help="read (word:1.2) in prompts as a weight, and leave out 'embedding:name' and BREAK, "
             "with a note; without, all of it is text (default: read)")


def add_size(parser: argparse.ArgumentParser, picture: bool = False) -> None:
    """The options.

    Args:
        picture: whether a given picture says the size where none of them does.
    """
    add = parser.add_argument
    add("--size", metavar="WxH", help="width x height in pixels; the nearest listed size is used "
        "(default: by --aspect and --pixels; of a saved plan, its own)")
    add("--aspect", metavar="W:H", help="width to height, such as 3:2 (default: "
        f"{'of the picture' if picture else '1:1'})")
    add("--pixels", "--pn", metavar="PN", help="pixel budget: 0.06M, 0.25M, 0.60M or 1M (default: "
        f"{'nearest to the picture, up to ' if picture else ''}the model's)")


def add_device(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", default="auto", help="cpu, cuda, cuda:1 or mps (default: auto)")
    add("--dtype", default="auto", help="float32, bfloat16 or float16 (default: auto)")
    add("--attention", default="auto",
        help="attention backend, see 'toprovar doctor' (default: auto)")
    gpu = parser.add_argument_group("on a GPU", "speed and memory, see docs/research/gpu.md")
    add = gpu.add_argument
    add("--no-graphs", action="store_true", help="run every kernel anew instead of recorded scales")
    add("--fp8", action="store_true", help="8-bit weights in the blocks: less memory, faster, "
                                           "a little off")
    add("--fp8-cache", action="store_true", help="8-bit KV cache: less memory, a little slower")
    add("--narrow-residual", action="store_true",
        help="residual in the blocks' dtype: a little faster, a little off")
    add("--memory", default="auto", metavar="HOW",
        help="auto: what does not fit the GPU waits in host memory, with the same bits; exact: the "
             "same, and never 8-bit numbers; 8-bit: those too, where they save time; a limit such "
             "as 6GB, or '6GB exact' (default: auto)")
    add("--stream", type=int, metavar="N", help="keep only N blocks on the GPU, bring the others "
                                                "from host memory as they are needed (default: by "
                                                "--memory)")


def load_pipeline(arguments: argparse.Namespace, edits: bool | None = False) -> InfinityPipeline:
    """The model that was asked for, on its device.

    Args:
        edits: whether it must be one that edits pictures (VAREdit), or one that does not; None =
            either.

    Raises:
        ValueError: it is the other one, or cannot be loaded.
    """
    check_model(arguments)
    if not getattr(arguments, "quiet", False):
        name = arguments.model or arguments.transformer or "the embedded model"
        print(printable(f"loading {name} ..."), file=sys.stderr, flush=True)
    from transformers.utils import logging

    from ..bundled import bundled_model
    from ..pipeline import InfinityPipeline
    from ..pipeline_loading import chosen_place

    device, dtype = chosen_place(arguments.device, arguments.dtype, arguments.memory)
    logging.disable_progress_bar()  # one bar, that of the scales
    parts = (arguments.transformer, arguments.vae, arguments.text_encoder)
    pipeline: Any
    if any(parts):  # then all are: see ``early.check_model``
        pipeline = InfinityPipeline.from_official(*parts, torch_dtype=dtype,
                                                  disable_mmap=arguments.disable_mmap,
                                                  family=arguments.family)
    else:
        pipeline = InfinityPipeline.from_folder(arguments.model or bundled_model(), dtype,
                                                disable_mmap=arguments.disable_mmap,
                                                family=arguments.family)
    _check_family(pipeline.transformer.shape.edits, edits)
    return _placed(pipeline, device, arguments)


def _check_family(found: bool, wanted: bool | None) -> None:
    if found and wanted is False:
        raise ValueError("this command draws from text, and the model is a VAREdit model, which "
                         "edits pictures: use 'toprovar instruct PICTURE INSTRUCTION', or another "
                         "model")
    if wanted and not found:
        raise ValueError("this command needs a VAREdit model, and the model is an Infinity model, "
                         "which draws from text: name another by --model, or say --family varedit "
                         "if it is one")


def _placed(pipeline: Any, device: torch.device, arguments: argparse.Namespace) -> Any:
    """The pipeline on its device, with weights narrowed and kept back as was asked for."""
    from ..models.fp8 import quantize_blocks
    from ..ops.fp8_linear import why_no_fp8
    from ..pipeline_loading import placed
    from ..sampling.streaming import stream_blocks

    if arguments.fp8:
        reason = why_no_fp8(device) if device.type == "cuda" else None
        if reason is not None:
            raise ValueError(f"--fp8: {reason}")
        quantize_blocks(pipeline.transformer)
    if arguments.stream is None:
        return placed(pipeline, device, arguments.memory)
    transformer = pipeline.transformer
    pipeline.transformer = None  # moved by itself: it need not fit the device
    pipeline.to(device)
    pipeline.transformer = transformer
    stream_blocks(transformer, device, arguments.stream)
    return pipeline


def names_size(arguments: argparse.Namespace) -> bool:
    return bool(arguments.size or arguments.aspect or arguments.pixels)


def find_size(arguments: argparse.Namespace, default_pn: str, default_aspect: float = 1.0
              ) -> ScaleSchedule:
    """The schedule of the size that was asked for.

    Args:
        default_aspect: height divided by width.
    """
    from ..schedules import get_schedule, parse_aspect, schedule_for_size

    if arguments.size:
        if arguments.aspect or arguments.pixels:
            raise ValueError("give either --size, or --aspect and --pixels")
        width, height = _pixels(arguments.size)
        return schedule_for_size(height, width)
    aspect = parse_aspect(arguments.aspect) if arguments.aspect else default_aspect
    return get_schedule(aspect, arguments.pixels or default_pn)


def size_told(arguments: argparse.Namespace, schedule: ScaleSchedule) -> tuple[str, ...]:
    """A note where the size is not quite what was asked for."""
    from ..schedules import aspect_notes, size_notes

    if arguments.size:
        width, height = _pixels(arguments.size)
        return size_notes(schedule, height, width)
    return aspect_notes(schedule, arguments.aspect) if arguments.aspect else ()


def _pixels(size: str) -> tuple[int, int]:
    """(width, height)"""
    match = re.fullmatch(r"(\d{1,20})[xX](\d{1,20})", size)
    if not match:
        raise ValueError(f"--size must look like 1024x768, got {size!r}")
    return int(match[1]), int(match[2])


def engine_options(arguments: argparse.Namespace) -> EngineOptions:
    import torch

    from ..devices import choose_device, choose_dtype
    from ..sampling.params import EngineOptions

    narrow = None
    if arguments.narrow_residual:
        narrow = choose_dtype(arguments.dtype, choose_device(arguments.device))
    return EngineOptions(
        attention_backend=arguments.attention, graphs=False if arguments.no_graphs else None,
        cache_dtype=torch.float8_e4m3fn if arguments.fp8_cache else None,
        residual_dtype=narrow or torch.float32,
    )
