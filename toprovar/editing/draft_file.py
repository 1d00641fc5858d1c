"""Drafts as bytes, as files, and inside pictures.

A draft's file is safetensors: bits packed to bytes, most significant first, and in its head a JSON
text about them. In a PNG, the same bytes stand in base64 among the picture's parameters.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from ..arguments import check_prompts, seed_list, whole
from ..files import replace_file
from ..picture_files import read_parameters, save_picture
from ..reading import parse_json, reading
from ..sampling.params import SamplingParams
from ..schedules import ScaleSchedule, find_schedule
from ..sparsity.plan_file import plan_from_json, plan_to_json
from .draft import Draft
from .stack import BitStack

if TYPE_CHECKING:
    from PIL import Image

FORMAT, VERSION = "toprovar-draft", "1"
MOST_BYTES = 256 << 20
"""A finished draft of 1000 pictures at 1M pixels takes 45 MB."""
MOST_BITS = 4096
"""Bits of a token, far above any model's."""
REMEDY = "make one with 'toprovar draft'"


def draft_to_bytes(draft: Draft) -> bytes:
    """The draft as the content of a file."""
    tensors: dict[str, Tensor] = {}
    for scale, (bits, stayed) in enumerate(zip(draft.stack.bits, draft.stack.stayed, strict=True)):
        if bits is not None:
            tensors[f"bits.{scale}"] = _packed(bits)
        if stayed is not None:
            tensors[f"stayed.{scale}"] = _packed(stayed)
    params = draft.params.to_json()
    del params["schedule"]
    about = {
        "grids": [list(g) for g in draft.schedule.grids], "scales": draft.done,
        "bits_per_token": draft.stack.bits_per_token, "prompts": list(draft.prompts),
        "negatives": None if draft.negatives is None else list(draft.negatives),
        "seeds": list(draft.seeds), "params": params, "prompt_weights": draft.prompt_weights,
        "plan": None if draft.plan is None else plan_to_json(draft.plan),
        "planner": draft.planner, "request": draft.request, "model": draft.model,
        "toprovar": draft.version,
    }
    return save(tensors, {"format": FORMAT, "version": VERSION, "about": json.dumps(about)})


def draft_from_bytes(content: bytes, where: str = "draft") -> Draft:
    """Check and build.

    Args:
        where: a name for messages.

    Raises:
        ValueError: naming what is wrong with it.
    """
    with reading(where, "draft", REMEDY):
        if len(content) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes, the limit for a draft")
        tensors = load(content)  # checks that it is whole
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__")
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise ValueError("it is not a draft of this program")
        if metadata.get("version") != VERSION:
            raise ValueError(f"version {metadata.get('version')!r}, this program reads version "
                             f"{VERSION}: use the release that wrote it, or a newer one")
        return _built(parse_json(metadata["about"]), tensors)


def save_draft(draft: Draft, path: str | Path) -> None:
    """Write a draft as a safetensors file. The file is complete or absent.

    Args:
        draft: what to write.
        path: a name that ends in ``.safetensors``.

    Raises:
        ValueError: the name ends otherwise.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"a draft's file must end in .safetensors, or .png with a picture, got "
                         f"{str(path)!r}")
    replace_file(path, draft_to_bytes(draft))


def save_draft_picture(draft: Draft, path: str | Path, picture: Image.Image,
                       parameters: dict[str, Any] | None = None) -> None:
    """Write a picture that holds the draft, ``.png``.

    Args:
        picture: what is to be seen, such as a preview, or a sheet of all of them.
        parameters: of the picture, beside the draft.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"a picture that holds a draft must end in .png, got {str(path)!r}")
    text = base64.b64encode(draft_to_bytes(draft)).decode("ascii")
    save_picture(picture, path, {**(parameters or {}), "draft": text})


def load_draft(path: str | Path) -> Draft:
    """Read a draft from a safetensors file, or from a PNG that holds one (a sheet of ``toprovar
    draft``).

    Args:
        path: a name that ends in ``.png``, or that of a safetensors file.

    Raises:
        ValueError: the file is missing, damaged, or holds no draft; the message names it.
    """
    path = Path(path)
    if path.suffix.lower() == ".png":
        text = read_parameters(path).get("draft")
        with reading(path, "draft", REMEDY):
            if not isinstance(text, str):
                raise ValueError("the picture holds no draft")
            try:
                content = base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"its draft is no base64 text ({error})") from None
        return draft_from_bytes(content, str(path))
    with reading(path, "draft", REMEDY), open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return draft_from_bytes(content, str(path))


def _packed(values: Tensor) -> Tensor:
    """[B, ...] of 0 and 1 -> [B, bytes] uint8."""
    flat = values.cpu().to(torch.uint8).flatten(1).numpy()
    return torch.from_numpy(np.packbits(flat, axis=1))


def _unpacked(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    count = math.prod(shape[1:])
    expected = (shape[0], -(-count // 8))
    if packed.dtype != torch.uint8 or tuple(packed.shape) != expected:
        raise ValueError(f"expected uint8 {expected}, found {packed.dtype} {tuple(packed.shape)}")
    bits = np.unpackbits(packed.numpy(), axis=1, count=count)
    return torch.from_numpy(bits).reshape(shape)


def _built(about: Any, tensors: dict[str, Tensor]) -> Draft:
    if not isinstance(about, dict):
        raise ValueError("its description is no JSON object")
    grids = about["grids"]
    if not isinstance(grids, list) or not all(
            isinstance(g, list) and len(g) == 2 and all(type(n) is int for n in g) for g in grids):
        raise ValueError("its scales cannot be read")
    schedule = find_schedule(grids)
    scales = whole("scales", about["scales"], 1, len(schedule))
    width = whole("bits_per_token", about["bits_per_token"], 1, MOST_BITS)
    prompts = _texts("prompts", about["prompts"])
    negatives = None if about.get("negatives") is None else _texts("negatives", about["negatives"])
    seeds = tuple(seed_list(about["seeds"], len(prompts)))
    bits: list[Tensor | None] = []
    stayed: list[Tensor | None] = []
    for scale, tokens in enumerate(schedule.tokens[:scales]):
        for found, name, shape in ((bits, "bits", (len(prompts), tokens, width)),
                                   (stayed, "stayed", (len(prompts), tokens))):
            packed = tensors.pop(f"{name}.{scale}", None)
            if packed is None:
                found.append(None)
                continue
            try:
                values = _unpacked(packed, shape)
            except ValueError as error:
                raise ValueError(f"{name} of scale {scale}: {error}") from None
            found.append(values.bool() if name == "stayed" else values)
    if tensors:
        raise ValueError(f"it holds {sorted(tensors)[0]!r}, which no draft of {scales} scales has")
    stack = BitStack(schedule.grids[:scales], tuple(bits), tuple(stayed))
    plan = None if about.get("plan") is None else plan_from_json(about["plan"], "its plan")
    for name in ("planner", "model", "toprovar"):
        if not isinstance(about.get(name), str) and not (name == "planner"
                                                         and about.get(name) is None):
            raise ValueError(f"{name} must be text")
    request = about.get("request")
    if request is not None and not isinstance(request, dict):
        raise ValueError("request must be an object")
    return Draft(stack, schedule, prompts, negatives, seeds, _params(schedule, about["params"]),
                 about.get("prompt_weights") is True, plan, about.get("planner"), request,
                 about["model"], about["toprovar"])


def _params(schedule: ScaleSchedule, values: Any) -> SamplingParams:
    known = {"cfg", "tau", "cfg_insertion_layer", "top_k", "top_p", "mode", "away"}
    if not isinstance(values, dict) or not values.keys() <= known:
        raise ValueError("its sampling parameters cannot be read")
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return SamplingParams(schedule, **values)


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(check_prompts(name, cast("list[Any]", values)))
