"""The compiled kernel on the shapes of Infinity 2B and 8B, scales 8 to 13; needs a CUDA device.

The small tests run here too, as the lane "gpu" of test_attention_entropy.py: ``pytest -m gpu``.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.attention_entropy_check import Case, cases, check_case, special

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: real shapes would take hours")]


@pytest.mark.parametrize("case", [
    pytest.param(case, id=f"{case[0]}, {case[5]}, {case[6]}", marks=needs_gpu)
    for case in cases(torch.device("cuda"))
])
def test_real_shapes(case: Case) -> None:
    row = check_case(torch.device("cuda"), *case)
    assert row["passed"], row


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_equal_logits_and_replayed_graphs(device: str) -> None:
    assert special(torch.device(device))["passed"]


@pytest.mark.parametrize("case", list(cases(torch.device("cpu"))), ids=str)
def test_the_check_itself(case: Case) -> None:
    assert check_case(torch.device("cpu"), *case)["passed"]

