"""Files of others' making: whatever is wrong with one, a reader says so in one kind of error."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

from toprovar.entropy.calibration import Calibration
from toprovar.entropy.trace import EntropyTrace
from toprovar.models.config import TransformerConfig
from toprovar.reading import parse_json
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.plan_file import (
    load_plan,
    load_plan_of_picture,
    plan_from_json,
    plan_to_json,
)
from toprovar.sparsity.prior import Prior
from toprovar.sparsity.shortcuts import Shortcuts
from toprovar.sparsity.strategies.skipvar.decision import DecisionModels

SHAPE = TransformerConfig(depth=4, width=32, num_heads=2, bits_per_token=8)
PLAN = plan_to_json(dense_plan(SHAPE, get_schedule("1.0", "0.06M")))
JSON_READERS = [load_plan, Calibration.load, DecisionModels.load, Prior.load]
READERS = [*JSON_READERS, load_plan_of_picture, EntropyTrace.load, Shortcuts.load]
Reader = Callable[[Path], Any]


def name(reader: Any) -> str:
    return reader.__qualname__


def refused(reader: Reader, path: Path) -> str:
    """The message of the one kind of error."""
    with pytest.raises(ValueError) as caught:
        reader(path)
    message = str(caught.value)
    assert type(caught.value) is ValueError and message.startswith(f"{path}: ")
    assert message.isprintable() and len(message) <= 1000 and "[Errno" not in message
    return message


@pytest.mark.parametrize("reader", READERS, ids=name)
def test_what_cannot_be_read_is_named(reader: Reader, tmp_path: Path) -> None:
    assert "No such file" in refused(reader, tmp_path / "absent")
    refused(reader, tmp_path)
    for content in (b"", b"\x00" * 64, b"\x89PNG\r\n\x1a\n", b"[" * 100_000):
        path = tmp_path / "file"
        path.write_bytes(content)
        refused(reader, path)


DEEP = '{"a":' * 900 + "1" + "}" * 900
HOSTILE = {
    "deep": "[" * 200_000 + "]" * 200_000, "objects": DEEP, "infinite": '{"tau": 1e999}',
    "nan": "NaN", "digits": '{"version": ' + "1" * 5000 + "}",
    "surrogate": json.dumps({**PLAN, "strategy": "\ud800", "skip": 1}),
    "inside": '{"version": 1, "scales": [], "skip": {}, "provenance": ' + DEEP + "}",
    "escape": json.dumps({**PLAN, "\x1b]0;owned\x07": 1}),
}


@pytest.mark.parametrize("reader", JSON_READERS, ids=name)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_json_is_refused(reader: Reader, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(HOSTILE[kind])
    refused(reader, path)


@pytest.mark.parametrize(("reader", "head"), [
    (EntropyTrace.load, {"toprovar": DEEP}),
    (EntropyTrace.load, {"toprovar": '{"about": [], "keys": 3}'}),
    (EntropyTrace.load, {"toprovar": '{"keys": {"0.0": 1e999}, "about": {}}'}),
    (Shortcuts.load, {"format": "toprovar-shortcuts", "version": "2", "about": DEEP}),
    (Shortcuts.load, {"format": "toprovar-shortcuts", "version": "2", "about": "3"}),
    (Shortcuts.load, {"format": "toprovar-shortcuts", "version": "2"}),
])
def test_hostile_headers_are_refused(reader: Reader, head: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"0-1-2.down": np.zeros((), np.float32), "0-1-2.up": np.zeros(3, np.float32),
               "0-1-2.bias": np.zeros(3, np.float32), "directions.0": np.zeros(2, np.float32),
               "directions.2": np.zeros(2, np.float32)}, path, head)
    refused(reader, path)


def test_a_trace_of_no_image_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    about = {"depth": 1, "grids": [[2, 2]]}
    save_file({"entropy.0.0": np.zeros((0, 2, 2), np.float32)}, path,
              {"toprovar": json.dumps({"about": about, "keys": {"0.0": 4}})})
    assert "at least one image" in refused(EntropyTrace.load, path)


def change(**changes: Any) -> dict[str, Any]:
    return {**PLAN, **changes}


def big(steps: list[dict[str, Any]], depth: int = 256) -> dict[str, Any]:
    return change(model={**PLAN["model"], "depth": depth}, scales=steps)


WIDE = {"grid": [4096, 4096], "keep": [4096 * 4096] * 256}
MANY = {**WIDE, "keep": list(range(1 << 20, (1 << 20) + 256))}


@pytest.mark.parametrize("values", [
    change(scales=[PLAN["scales"][0]] * 10_000),
    change(scales=[{"grid": [1, 1], "keep": [1] * 100_000}]),
    change(scales=[{"grid": [10**9, 10**9], "keep": [1] * 4}]),
    change(**{f"extra {i}": i for i in range(20_000)}),
    change(seed=10**30),
    change(predicted={"token_layers": 10**400, "token_layer_share": 1, "flops": 1, "flop_share": 1,
                      "kv_bytes": 1, "kv_share": 1}),
    change(predicted={"token_layers": 1, "token_layer_share": 1, "flops": 1, "flop_share": 1,
                      "kv_bytes": 1, "kv_share": 1, "seconds": 0, "dense_seconds": 1}),
    big([WIDE, *[{**MANY, "region": 1, "min_per_region": 1}] * 63]),
    big([WIDE, *[{**MANY, "region": 4096, "min_per_region": 4096**2}] * 63]),
    big([{**WIDE, "keep": [*WIDE["keep"][:-1], 0]}] * 63 + [MANY]),
    change(parameters={"circular": []}),
    change(parameters={"set": {1, 2}}),
    change(parameters={"infinite": float("inf")}),
], ids=range(13))
def test_a_hostile_plan_is_refused_at_once(values: dict[str, Any]) -> None:
    if "circular" in values.get("parameters", {}):
        values["parameters"]["circular"].append(values["parameters"])
    started = time.process_time()
    with pytest.raises(ValueError, match=r"^here: not a usable sparsity plan: "):
        plan_from_json(values, "here")
    assert time.process_time() - started < 1.0  # the dearest takes 0.3 s


def png(path: Path, text: str | None, size: tuple[int, int] = (1, 1)) -> Path:
    info = PngInfo()
    if text is not None:
        info.add_itxt("toprovar", text)
    Image.new("RGB", (1, 1)).save(path, "PNG", pnginfo=info)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", *size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


def test_the_plan_of_a_picture(tmp_path: Path) -> None:
    path = png(tmp_path / "x.png", json.dumps({"sparsity_plan": PLAN}))
    assert plan_to_json(load_plan_of_picture(path)) == PLAN


@pytest.mark.parametrize(("text", "size", "message"), [
    (None, (1, 1), "holds no sparsity plan"), ("{}", (1, 1), "holds no sparsity plan"),
    ("[]", (1, 1), "holds no sparsity plan"), ("{", (1, 1), "not JSON"), (DEEP, (1, 1), "nested"),
    ('{"sparsity_plan": 3}', (1, 1), "no 'scales'"),
    ('{"sparsity_plan": {}}', (60_000, 60_000), "decompression bomb"),
    (" " * (3 << 20), (1, 1), "longer than"),
])
def test_pictures_without_a_plan(text: str | None, size: tuple[int, int], message: str,
                                 tmp_path: Path) -> None:
    assert message in refused(load_plan_of_picture, png(tmp_path / "x.png", text, size))


def test_a_damaged_picture(tmp_path: Path) -> None:
    whole = png(tmp_path / "x.png", json.dumps({"sparsity_plan": PLAN})).read_bytes()
    path = tmp_path / "y.png"
    for place in range(8, len(whole) - 60, 97):
        path.write_bytes(whole[:place])
        refused(load_plan_of_picture, path)


def test_levels_are_counted() -> None:
    assert parse_json("[" * 40 + "]" * 40) and parse_json("1.5") == 1.5
    with pytest.raises(ValueError, match="more than 40 levels"):
        parse_json("[" * 41 + "1" + "]" * 41)
    with pytest.raises(ValueError, match=r"a\.1\.b: inf is not a finite number"):
        parse_json('{"a": [1, {"b": 1e999}]}')
