"""Shared by all tests: where the goldens are, and a clear reason where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"


def pytest_configure() -> None:
    # One worker's tests must not take every core from the others, and results must not depend
    # on how many cores there are.
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of recorded results of the official code, which only developers and CI have."""
    if not (FIXTURES / "README.md").is_file():
        pytest.skip("recorded results of the official code (shared/fixtures) are not here")
    return FIXTURES
