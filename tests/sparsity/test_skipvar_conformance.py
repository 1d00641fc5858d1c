"""The checker sees SkipVAR runs that go wrong. (Recorded ones are checked with their family.)"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conformance.test_goldens import copy_family
from toprovar.conformance.family import Family
from toprovar.conformance.runs import check_run


@pytest.fixture
def family(fixtures: Path, tmp_path: Path) -> Path:
    """One dense run of seven scales, to be recorded as SkipVAR's."""
    folder = copy_family(fixtures, tmp_path, "infinity_2b_like")
    for run in (folder / "runs").iterdir():
        if run.name != "sq_cfg4_logits":
            shutil.rmtree(run)
    return folder


def misses(folder: Path, settings: dict[str, Any], features: tuple[float, float]) -> set[str]:
    run = folder / "runs" / "sq_cfg4_logits"
    known = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**known, **settings}))
    golden = load_file(run / "expected.safetensors")
    save_file({**golden, "features": torch.tensor(features, dtype=torch.float64)},
              run / "expected.safetensors")
    loaded = Family(folder, torch.device("cpu"))
    checks = check_run(loaded, loaded.runs()[0])
    return {c.name.split()[-1] for c in checks if not c.passed}


def test_labels_scales_and_features_are_compared(family: Path) -> None:
    keep = {"skip_label": 0, "uncond_label": 0, "executed_scales": list(range(7))}
    wrong = misses(family, keep, (0.0, 0.0))
    assert wrong == {"features"}
    assert misses(family, {**keep, "executed_scales": list(range(6))}, (0.0, 0.0)) >= {
        "executed_scales", "features"}
    assert {"logits.6", "bits.6"} <= misses(family, {**keep, "uncond_label": 1}, (0.0, 0.0))
    assert {"logits.5", "executed_scales"} <= misses(family, {**keep, "skip_label": 2}, (0.0, 0.0))
