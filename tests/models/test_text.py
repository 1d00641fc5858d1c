from __future__ import annotations

import pytest
import torch

from tests.tiny import random_text, tiny_transformer
from toprovar.models.text import PackedText, pad_rows


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="expected"):
        PackedText(torch.zeros(5, 4), (2, 2))
    with pytest.raises(ValueError, match="at least one token"):
        PackedText(torch.zeros(2, 4), (2, 0))


def test_repeat_keeps_prompts_together() -> None:
    text = random_text(2, 3)
    repeated = text.repeat_each(2)
    assert repeated.lengths == (2, 2, 3, 3)
    assert torch.equal(repeated.rows()[1], text.rows()[0])


def test_padding_has_no_effect() -> None:
    """A short prompt beside a long one gives what it gives alone."""
    model = tiny_transformer()
    text = random_text(3, 7)
    alone = PackedText(text.rows()[0], (3,))
    with torch.inference_mode():
        both, single = model.prepare_text(text), model.prepare_text(alone)
    torch.testing.assert_close(both.pooled[:1], single.pooled)
    assert both.blocks[0].text_mask is not None and single.blocks[0].text_mask is None
    torch.testing.assert_close(both.blocks[0].text_k[:1, :, :3], single.blocks[0].text_k)
    padded, mask = pad_rows(text.rows())
    assert padded.shape == (2, 7, 24) and mask is not None and mask.sum() == 10


def test_wrong_text_encoder_is_named() -> None:
    with pytest.raises(ValueError, match="right text encoder"):
        tiny_transformer().prepare_text(random_text(3, channels=20))


def test_null_text_has_an_end() -> None:
    with pytest.raises(ValueError, match="shorten the prompt"):
        tiny_transformer().null_rows((17,))
