"""``toprovar generate``: prompt in, PNG out."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from ..schedules import ScaleSchedule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", help="what to draw")
    add("--model", metavar="DIR", help="pipeline folder (default: the embedded model)")
    official = parser.add_argument_group("official checkpoints, instead of --model")
    official.add_argument("--transformer", metavar="PATH", help="transformer file or folder")
    official.add_argument("--vae", metavar="FILE", help="VAE file")
    official.add_argument("--text-encoder", metavar="DIR", help="flan-t5-xl folder")
    add("--size", metavar="WxH", help="width x height in pixels; the nearest listed size is used")
    add("--aspect", metavar="W:H", help="width to height, such as 3:2")
    add("--pixels", metavar="PN", help="pixel budget: 0.06M, 0.25M, 0.60M or 1M")
    add("--seed", type=int, default=0, help="image i is drawn from seed + i (default 0)")
    add("--cfg", type=float, help="guidance strength; 1 = off")
    add("--tau", type=float, help="temperature")
    add("--top-p", type=float, default=0.97)
    add("--greedy", action="store_true", help="take the likelier bit everywhere")
    add("--negative", metavar="TEXT", help="what to steer away from")
    add("--num", type=int, default=1, help="how many images")
    add("--out", metavar="FILE.png", default="out.png", help="with --num: FILE-1.png, FILE-2.png")
    add("--report", metavar="FILE.json", help="write what was run and what it cost")
    add("--device", default="auto")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--attention", default="auto", help="attention backend, see 'toprovar doctor'")
    add("--vae-tile", type=int, metavar="N", help="decode in tiles of N latent pixels")


def run(arguments: argparse.Namespace) -> int:
    from ..devices import choose_device, choose_dtype

    out, report_path = Path(arguments.out), arguments.report and Path(arguments.report)
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out must end in .png, got {arguments.out!r}")
    for path in filter(None, (out, report_path)):
        if not path.absolute().parent.is_dir():
            raise ValueError(f"the folder of {str(path)!r} does not exist: create it first")
    if arguments.num < 1:
        raise ValueError(f"--num must be at least 1, got {arguments.num}")
    device = choose_device(arguments.device)
    pipeline = _load(arguments, choose_dtype(arguments.dtype, device)).to(device)
    pipeline.set_progress_bar_config(desc="scales")
    schedule = _schedule(arguments, pipeline.config["default_pn"])

    from ..sampling.params import EngineOptions

    result = pipeline(
        arguments.prompt, arguments.negative, guidance_scale=arguments.cfg, tau=arguments.tau,
        num_images_per_prompt=arguments.num, seed=arguments.seed, schedule=schedule,
        top_p=arguments.top_p, greedy=arguments.greedy, vae_tile=arguments.vae_tile,
        options=EngineOptions(attention_backend=arguments.attention),
    )
    report = result.report.to_json()
    report["prompt"], report["negative_prompt"] = arguments.prompt, arguments.negative
    names = [out] if arguments.num == 1 else [
        out.with_name(f"{out.stem}-{i + 1}{out.suffix}") for i in range(arguments.num)
    ]
    for i, (name, image) in enumerate(zip(names, result.images, strict=True)):
        save_png(image, name, {**_parameters(report), "seed": arguments.seed + i})
    if report_path:
        replace_file(report_path, (json.dumps(report, indent=1) + "\n").encode())
    seconds = sum(report["seconds"].values())
    height, width = schedule.image_size
    for name in names:
        print(f"{name.absolute()} ({width}x{height}, {seconds:.2f} s, {report['device']}, "
              f"{report['dtype']})")
    return 0


def _load(arguments: argparse.Namespace, dtype: Any) -> Any:
    from transformers.utils import logging

    from ..bundled import bundled_model
    from ..pipeline import InfinityPipeline

    logging.disable_progress_bar()  # one bar, that of the scales
    parts = (arguments.transformer, arguments.vae, arguments.text_encoder)
    if any(parts):
        if arguments.model or not all(parts):
            raise ValueError("official checkpoints need --transformer, --vae and --text-encoder "
                             "together, and no --model")
        return InfinityPipeline.from_official(*parts, torch_dtype=dtype)
    return InfinityPipeline.from_folder(arguments.model or bundled_model(), dtype)


def _schedule(arguments: argparse.Namespace, default_pn: str) -> ScaleSchedule:
    from ..schedules import get_schedule, parse_aspect, schedule_for_size

    if arguments.size:
        if arguments.aspect or arguments.pixels:
            raise ValueError("give either --size, or --aspect and --pixels")
        match = re.fullmatch(r"(\d+)[xX](\d+)", arguments.size)
        if not match:
            raise ValueError(f"--size must look like 1024x768, got {arguments.size!r}")
        return schedule_for_size(height=int(match[2]), width=int(match[1]))
    aspect = parse_aspect(arguments.aspect) if arguments.aspect else 1.0
    return get_schedule(aspect, arguments.pixels or default_pn)


def _parameters(report: dict[str, Any]) -> dict[str, Any]:
    """What is needed to make the picture again."""
    keep = ("prompt", "negative_prompt", "plan", "params", "dtype", "device", "versions")
    return {key: report[key] for key in keep}


def save_png(image: Image.Image, path: Path, parameters: dict[str, Any]) -> None:
    """Write a PNG with the parameters in a text chunk named "toprovar"."""
    import io

    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("toprovar", json.dumps(parameters, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    replace_file(path, buffer.getvalue())


def replace_file(path: Path, content: bytes) -> None:
    """Write beside ``path`` and move into place, so that no half file is ever seen."""
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
