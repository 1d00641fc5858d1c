from __future__ import annotations

import json
from pathlib import Path

import torch

import toprovar
from toprovar.bundled import bundled_model
from toprovar.checkpoints.load import load_transformer
from toprovar.entropy.calibration import find_calibration
from toprovar.models.fingerprint import model_fingerprint

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_resolves() -> None:
    for name in toprovar.__all__:
        assert getattr(toprovar, name) is not None
    assert set(toprovar.__all__) == {*toprovar._LAZY, "__version__"}


def test_the_engine_does_not_import_what_stands_above_it() -> None:
    """Imports point down: no ComfyUI, no training or benchmarks, nothing of a higher floor."""
    upstairs = {"pipeline", "planning", "analysis", "cli", "conformance"}
    floors = {
        "ops": {"models", "checkpoints", "entropy", "sampling", "sparsity", *upstairs},
        "models": {"checkpoints", "entropy", "sampling", "sparsity", *upstairs},
        "entropy": {"checkpoints", "sampling", "sparsity", *upstairs},
        "sparsity": {"sampling", *upstairs},
        "sampling": upstairs,
        "checkpoints": {"sampling", *upstairs},
        "analysis": {"cli", "conformance"},
        "pipeline.py": {"planning", "analysis", "cli", "conformance"},
        "evaluation": {"ops", "models", "checkpoints", "entropy", "sampling", "sparsity",
                       *upstairs},
    }
    for path in (ROOT / "toprovar").rglob("*.py"):
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        imports = [line for line in lines if line.startswith(("import ", "from "))]
        for line in imports:
            module = line.split()[1]
            assert not module.startswith(("comfy", "training", "benchmarks", "tests")), path
            floor = path.relative_to(ROOT / "toprovar").parts[0]
            inner = len(path.relative_to(ROOT / "toprovar").parts) > 1
            if module.startswith(".." if inner else ".") and floor in floors:
                target = module.lstrip(".").split(".")[0]
                assert target not in floors[floor], f"{path}: {line}"


def test_comfyui_reads_the_version_that_the_package_has() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{toprovar.__version__}"' in project


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    results = ROOT / "benchmarks" / "results"
    readme = (ROOT / "README.md").read_text("utf-8")
    dense = json.loads((results / "dense-cpu.json").read_text("utf-8"))
    for dtype in ("fp32", "bf16"):
        found = dense[dtype]
        for figure in (found["ratio"], found["memory_ratio"]["run"]):
            assert f"{figure:.2f} x" in readme
        assert f"{found['share_of_matmul']['all scales of 400+ tokens']:.0%}".replace("%", " %") \
            in readme
    strategies = json.loads((results / "strategies-cpu.json").read_text("utf-8"))["models"]
    for model in ("125m", "embedded"):
        for name in ("toprovar", "fastvar", "skipvar"):
            row = strategies[model][name]
            shown = f"{row['flop_share']:.0%} | {row['speedup_measured']:.2f} x | "
            shown += f"{row['reached']:.0%}"
            assert shown.replace("%", " %") in readme
    calibration = find_calibration(model_fingerprint(load_transformer(
        bundled_model() / "transformer", dtype=torch.float32, device="cpu")))
    assert calibration is not None
    probe = calibration.provenance["probe"]
    for value in (*probe["ssim"]["0.25M"].values(), probe["unguided_ssim"]["0.25M"][0]):
        assert f"{value:.3f}" in readme
    card = (ROOT / "training" / "MODEL_CARD.md").read_text("utf-8")
    for size in ("256", "512"):
        scores = json.loads((results / f"compositional-{size}.json").read_text("utf-8"))
        for share in scores["tasks"].values():
            assert f"{share['score']:.0%} ({share['low']:.0%}" in card
    shipped = ROOT / "toprovar" / "bundled" / "infinity-emoji" / "README.md"
    assert shipped.read_text("utf-8") == card
