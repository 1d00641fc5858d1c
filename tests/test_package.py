from __future__ import annotations

import ast
from pathlib import Path

import toprovar
from toprovar.sparsity.strategies.registry import all_strategies

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_resolves() -> None:
    for name in toprovar.__all__:
        assert getattr(toprovar, name) is not None
    assert set(toprovar.__all__) == {*toprovar._LAZY, "__version__"}


def test_the_engine_does_not_import_what_stands_above_it() -> None:
    """Imports point down: no ComfyUI, no training or benchmarks, nothing of a higher floor."""
    upstairs = {"editing", "pipeline", "planning", "analysis", "batch", "bench", "cli",
                "conformance"}
    floors = {
        "ops": {"models", "checkpoints", "entropy", "sampling", "sparsity", *upstairs},
        "models": {"checkpoints", "entropy", "sampling", "sparsity", *upstairs},
        "entropy": {"checkpoints", "sampling", "sparsity", *upstairs},
        "sparsity": {"sampling", *upstairs},
        "sampling": upstairs,
        "checkpoints": {"sampling", *upstairs},
        "editing": {"pipeline", "planning", "analysis", "batch", "bench", "cli", "conformance"},
        "analysis": {"batch", "bench", "cli", "conformance"},
        "batch": {"analysis", "bench", "cli", "conformance"},
        "bench": {"analysis", "batch", "cli", "conformance"},
        "pipeline.py": {"planning", "analysis", "batch", "bench", "cli", "conformance"},
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


def test_only_a_methods_own_files_name_it() -> None:
    """Its module or folder among the strategies, and its fit. Words for readers may name it
    anywhere: documentation and comments."""
    words = {"auto", "dense", "stop", "toprovar", "window"}  # which mean other things as well
    methods = all_strategies().keys() - words
    assert len(methods) >= 5
    for path in [*(ROOT / "toprovar").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        owned = {method for method in methods if method in parts}
        tree = ast.parse(path.read_text("utf-8"))
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in texts:
                continue
            names = " ".join(
                str(value) for field, value in ast.iter_fields(node)
                if field in ("id", "attr", "name", "module", "arg", "value", "asname")
                and isinstance(value, str)).lower().replace("-", "").replace("_", "")
            named = {method for method in methods - owned if method in names}
            assert not named, f"{path}:{getattr(node, 'lineno', '?')} names {named}"
