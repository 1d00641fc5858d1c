from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random pipeline."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache folder that tests share, so that the tiny model is measured once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(measured: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPROVAR_CACHE", str(measured))
    return measured
