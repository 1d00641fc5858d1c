from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F

from tests.ops.lanes import KERNEL_LANES, Lane
from tests.tiny import tiny_text_encoder, tiny_tokenizer
from toprovar.models import text_runner
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
    with pytest.raises(ValueError, match="must be text, got int"):
        encode_prompts([3], tiny_tokenizer(), tiny_text_encoder())  # type: ignore[list-item]  # on purpose


def test_padding_to_buckets_leaves_the_features() -> None:
    tokenizer, encoder = tiny_tokenizer(), tiny_text_encoder()
    batch = tokenizer(["a red apple", "a cat and a dog"], padding="longest", return_tensors="pt")
    ids, mask = batch.input_ids, batch.attention_mask
    plain = text_runner.encode(encoder, ids, mask)
    length = text_runner.padded_length(ids.shape[1], torch.device("cuda"))
    assert length == 64 and text_runner.padded_length(6, torch.device("cpu")) == 6
    assert text_runner.padded_length(65, torch.device("cuda")) == 128
    short = (0, length - ids.shape[1])
    padded, padded_mask = F.pad(ids, short), F.pad(mask, short)
    for found in (
        text_runner.encode(encoder, padded, padded_mask),
        text_runner.EncodeRunner(encoder)(encoder, padded, padded_mask, None),
    ):
        for row, wanted, n in zip(found, plain, mask.sum(-1), strict=True):
            torch.testing.assert_close(row[:n], wanted[:n])


def test_a_ready_mask_asks_nothing_of_the_device() -> None:
    """On torch's meta device any look at a value fails, as it would wait on a GPU."""
    encoder = tiny_text_encoder()
    mask = torch.ones(1, 8, dtype=torch.int64)
    expected = encoder(input_ids=mask, attention_mask=mask).last_hidden_state
    found = encoder(input_ids=mask, attention_mask=text_runner.ready_mask(mask, encoder.dtype))
    torch.testing.assert_close(found.last_hidden_state, expected)
    encoder.to("meta")
    ids = mask.to("meta")
    encoder(input_ids=ids, attention_mask=text_runner.ready_mask(ids, encoder.dtype))


@pytest.mark.parametrize("lane", KERNEL_LANES[1:])
def test_replayed_features_are_those_of_single_steps(lane: Lane) -> None:
    tokenizer, encoder = tiny_tokenizer(), tiny_text_encoder().to(lane.device)
    prompts = ["a red apple", "a cat and a dog on the left", "two dog", ""]
    for prompt in prompts:  # the first call of the bucket, its recording, two replays
        found = encode_prompts([prompt], tokenizer, encoder)
        plain = encode_prompts([prompt], tokenizer, encoder, graph=False)
        torch.testing.assert_close(found.features, plain.features)
    assert text_runner._RUNNERS[encoder].replays.recorded() == [((1, 64), (1, 64))]
