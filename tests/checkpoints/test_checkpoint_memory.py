"""Peak host memory of loading and converting, in a process of its own.

What counts is the resident set at its highest (VmHWM, reset before each step) less the resident
set before: that includes pages of the mapped file, which the system could take back at any time,
so it is the strictest reading. After loading, every weight is read once, so that pages not yet
touched cannot flatter the figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.official_format import transformer_shapes

SCRIPT = """
import ctypes, gc, json, sys, torch
from pathlib import Path
from toprovar.checkpoints import convert, load_transformer

def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

def load(dtype):
    def step(path):
        model = load_transformer(path, dtype)
        for tensor in model.state_dict().values():
            tensor.view(-1).view(torch.uint8)[::512].sum()
    return step

def measure(step, path):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier step freed must not count as there before
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step(path)
    return (status("VmHWM") - before) / Path(path).stat().st_size

folder = Path(sys.argv[1])
load(torch.bfloat16)(folder / "small.pth")  # imports and caches
convert([folder / "small.pth"], folder / "small")
steps = {
    "load": load(None),
    "narrow": load(torch.bfloat16),
    "convert": lambda path: convert([path], folder / "out", overwrite=True,
                                    max_shard_bytes=100_000_000),
}
result = {}
for name in ("big.pth", "big.safetensors", "legacy.pth"):
    for step, run in steps.items():
        result[f"{name} {step}"] = measure(run, folder / name)
result["back"] = measure(
    lambda _: convert([folder / "out"], folder / "back.pth"), folder / "big.pth")
json.dump(result, sys.stdout)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory(tmp_path: Path) -> None:
    shapes = transformer_shapes(depth=4, chunks=2, width=960, heads=8, hidden=3840, text=256)
    state = {k: torch.full(s, 0.5) for k, s in shapes.items()}
    torch.save(state, tmp_path / "big.pth")
    save_file(state, tmp_path / "big.safetensors")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({k: torch.zeros(s) for k, s in transformer_shapes().items()}, tmp_path / "small.pth")
    assert (tmp_path / "big.pth").stat().st_size > 200e6
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["big.pth load"] > 0.8  # every page was read: the measurement sees the file
    too_much = {name: peak for name, peak in result.items() if peak > 1.2}
    assert not too_much, result
