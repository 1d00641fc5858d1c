"""Training of the second network, and of any network in several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toprovar.evaluation.second import STRIDE
from training import parallel
from training.data.atlas import SpriteAtlas
from training.data.scenes import sample_scenes
from training.data.tokenizer import CaptionEncoder
from training.loop import Loop
from training.second.stage import SecondStage, SecondStream
from training.second.targets import Cells, cells_of, cropped
from training.train_second import load_settings

SETTINGS = load_settings(Path("training/configs/smoke_second.json"))


def test_cells_are_what_stands_at_their_middle(small_atlas: SpriteAtlas) -> None:
    scenes, size, bins = sample_scenes(6, 11), 256, 8
    cells = cells_of(scenes, small_atlas, size, 48, bins)
    sprites = small_atlas.sprites
    for row in range(len(scenes)):
        for i in range(3, size // STRIDE, 7):
            for j in range(2, size // STRIDE, 5):
                y, x = ((k + 0.5) * STRIDE / size for k in (i, j))
                wanted = (48, -1, -1)
                for slot in range(int(scenes.valid[row].sum())):
                    side = float(scenes.size[row, slot])
                    u = (x - float(scenes.cx[row, slot])) / side + 0.5
                    v = (y - float(scenes.cy[row, slot])) / side + 0.5
                    if not (0 <= u < 1 and 0 <= v < 1):
                        continue
                    cls, pixels = int(scenes.cls[row, slot]), sprites.shape[-1]
                    if sprites[cls, 0, 3, int(v * pixels), int(u * pixels)] >= 128:
                        wanted = (cls, int(scenes.variant[row, slot]),
                                  int(v * bins) * bins + int(u * bins))
                found = tuple(int(t[row, i, j]) for t in (cells.cls, cells.colour, cells.place))
                assert found == wanted
    assert (cells.cls < 48).any()


def test_a_crop_takes_pictures_and_cells_together() -> None:
    size, side = 64, 32
    plane = torch.arange(64).view(8, 8).repeat(3, 1, 1)
    images = plane.repeat_interleave(STRIDE, 1).repeat_interleave(STRIDE, 2)[:, None]
    images = images.expand(-1, 3, -1, -1)
    assert images.shape[-1] == size
    cut, cells = cropped(images, Cells(plane, plane + 1, plane + 2), side,
                         torch.Generator().manual_seed(0))
    assert cut.shape == (3, 3, side, side)
    assert torch.equal(cut[:, 0, ::STRIDE, ::STRIDE], cells.cls)
    assert torch.equal(cells.colour, cells.cls + 1) and torch.equal(cells.place, cells.cls + 2)
    assert len({tuple(row.flatten().tolist()) for row in cells.cls}) > 1


def test_a_run_leaves_a_bundle_and_tells_every_size(
    small_atlas: SpriteAtlas, tmp_path: Path
) -> None:
    stage = SecondStage(SETTINGS, small_atlas, torch.device("cpu"))
    loop = Loop(stage, SETTINGS.run, tmp_path)
    stream = SecondStream(SETTINGS.run.views, 1, small_atlas, CaptionEncoder(2))
    found = loop.run(stream)
    stream.close()
    assert {"class_right_256", "class_right_512", "place_right_256"} <= found.keys()
    assert (tmp_path / "bundle").is_dir() and loop.counter.step == 4


SCRIPT = """
import torch
from training import parallel

parallel.start(torch.device("cpu"))
weight = torch.nn.Parameter(torch.zeros(3))
weight.grad = torch.full((3,), float(parallel.rank() + 1))
parallel.average_gradients([weight])
said = parallel.told((10.0 + parallel.rank(), 5.0))
assert weight.grad.tolist() == [1.5] * 3 and said == [10.0, 5.0] and parallel.world() == 2
parallel.stop()
"""


def test_processes_average_their_gradients_and_follow_the_first(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(script)], capture_output=True, text=True, timeout=300, check=False,
        env={**__import__("os").environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("local", [None, "1"])
def test_a_process_takes_a_gpu_by_its_number(
    local: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``torch.cuda.set_device`` refuses a device without a number, also in a lone process."""
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local is not None:
        monkeypatch.setenv("LOCAL_RANK", local)
    found = parallel.device_of(None)
    assert found == torch.device("cuda", int(local or 0)) and taken == [found]
    assert parallel.device_of("cuda:3") == torch.device("cuda", 3)
    assert parallel.device_of("cpu") == torch.device("cpu")
