from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.sampling.tape import TapePool
from toprovar.sampling import setup, workspace

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device")])


@pytest.fixture(params=["cpu", GPU])
def device(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where scales are recorded: on a CPU by a tape, on a GPU as CUDA graphs."""
    if request.param == "cpu":
        monkeypatch.setattr(workspace, "GraphPool", TapePool)
        monkeypatch.setattr(setup, "why_no_graphs", lambda device: None)
    return request.param
