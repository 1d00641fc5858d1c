"""The judge as a file, and what it refuses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import toprovar.evaluation
from toprovar.evaluation.compositional import Judge, ObjectSpec, PromptSpec
from toprovar.evaluation.compositional.judge import resized

CAT = PromptSpec("single", "a cat", (ObjectSpec("cat"),))


def test_round_trip_keeps_names_thresholds_and_maps(small, tmp_path):
    small.save(tmp_path / "judge.safetensors")
    again = Judge.load(tmp_path / "judge.safetensors")
    assert (again.classes, again.colours) == (small.classes, small.colours)
    assert (again.thresholds, again.about) == (small.thresholds, small.about)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(
        again.maps(images).heat, small.maps(images).heat, atol=5e-3, rtol=5e-3
    )


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(FileNotFoundError, match="no judge at"):
        Judge.load(path)
    save_file({"x": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match="is no judge"):
        Judge.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="no readable safetensors"):
        Judge.load(path)


def test_bytes_and_floats_and_sizes_are_the_same_picture(small):
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    doubled = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    heat = small.maps(picture).heat
    torch.testing.assert_close(small.maps(picture.float() / 255).heat, heat)
    torch.testing.assert_close(small.maps(doubled).heat, heat)
    assert resized(torch.rand(1, 3, 40, 50), 64).shape == (1, 3, 64, 64)


def test_wrong_pictures_and_prompts_are_refused(small):
    with pytest.raises(ValueError, match="must lie in 0-1"):
        small.detect(torch.rand(1, 3, 64, 64) * 2 - 1)
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        small.detect(torch.rand(3, 64, 64))
    with pytest.raises(ValueError, match="1 pictures but 2 prompts"):
        small.score(torch.rand(1, 3, 64, 64), [CAT, CAT])
    bear = PromptSpec("single", "a bear", (ObjectSpec("bear"),))
    with pytest.raises(ValueError, match="knows no 'bear'"):
        small.score(torch.rand(1, 3, 64, 64), [bear])
    assert small.detect(torch.rand(0, 3, 64, 64)) == []


def test_evaluation_stands_alone():
    """Nothing of the engine or the training may reach what judges it."""
    root = Path(toprovar.evaluation.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inside = node.level == 0 or len(path.relative_to(root).parts) >= node.level
                assert inside, f"{path.name}: relative import"
                names = [node.module or ""] if node.level == 0 else []
            for name in names:
                own = name.startswith("toprovar.evaluation")
                assert own or name.split(".")[0] not in ("toprovar", "training"), (path.name, name)
