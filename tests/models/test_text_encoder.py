from __future__ import annotations

import logging

import pytest
import torch

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from toprovar.models.text_encoder import encode_prompts


def test_padding_does_not_reach_the_features() -> None:
    tokenizer, encoder = tiny_tokenizer(), tiny_text_encoder()
    both = encode_prompts(["a red apple", "a cat and a dog on the left"], tokenizer, encoder)
    assert both.lengths == (4, 9)  # the end token counts
    alone = encode_prompts(["a red apple"], tokenizer, encoder)
    torch.testing.assert_close(both.rows()[0], alone.features)
    assert both.features.dtype == torch.float32


def test_an_empty_prompt_is_one_token() -> None:
    assert encode_prompts([""], tiny_tokenizer(), tiny_text_encoder()).lengths == (1,)


def test_long_prompts_are_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        text = encode_prompts(["a cat " * 10, "a"], tiny_tokenizer(), tiny_text_encoder(), 8)
    assert text.lengths == (8, 2)
    assert "21 text tokens, only the first 8" in caplog.text


def test_only_text_is_text() -> None:
    with pytest.raises(TypeError, match="must be text, got int"):
        encode_prompts([3], tiny_tokenizer(), tiny_text_encoder())  # type: ignore[list-item]  # on purpose
