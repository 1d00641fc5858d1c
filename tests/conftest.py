"""Shared by all tests: where the goldens are, and a clear reason where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"


if not torch.cuda.is_available():
    # Kernels run in Triton's interpreter; Triton reads this when a kernel is defined.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device; skips with a reason elsewhere")
    # One worker's tests must not take every core from the others, and results must not depend
    # on how many cores there are.
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of recorded results of the official code, which only developers and CI have."""
    if not (FIXTURES / "README.md").is_file():
        pytest.skip("recorded results of the official code (shared/fixtures) are not here")
    return FIXTURES
