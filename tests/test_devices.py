from __future__ import annotations

import pytest
import torch

from toprovar.devices import choose_device, choose_dtype, findings


def test_the_cpu_is_exact() -> None:
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("bf16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_absent_devices_are_named() -> None:
    with pytest.raises(ValueError, match="sees no CUDA device"):
        choose_device("cuda")


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="expected auto, cpu"):
        choose_device("abacus")
    with pytest.raises(ValueError, match="unknown dtype"):
        choose_dtype("int4", torch.device("cpu"))


def test_findings_are_data() -> None:
    found = findings()
    assert "cpu" in found["devices"] and found["use"]["device"]
