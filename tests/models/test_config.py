from __future__ import annotations

from typing import Any

import pytest

from toprovar.models.config import AutoencoderConfig, TransformerConfig, group_count


def test_derived_sizes() -> None:
    big = TransformerConfig(40, 3584, 28, 56, spatial_patchify=True, block_chunks=8)
    assert (big.head_dim, big.pool_heads, big.mlp_hidden, big.latent_channels) == (
        128, 16, 14336, 14)
    assert TransformerConfig(32, 2080, 20, 32).mlp_hidden == 8192  # 32.5 rounds to even


@pytest.mark.parametrize(("changes", "message"), [
    ({"depth": 0}, "depth"),
    ({"num_heads": 5}, "multiple of num_heads"),
    ({"num_heads": 32}, "head size 2"),
    ({"block_chunks": 3}, "block_chunks"),
    ({"spatial_patchify": True, "bits_per_token": 6}, "divisible by 4"),
])
def test_bad_transformers_are_refused(changes: dict, message: str) -> None:
    settings: dict[str, Any] = {"depth": 4, "width": 64, "num_heads": 2, "bits_per_token": 16}
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**(settings | changes))


def test_autoencoder_levels() -> None:
    official = AutoencoderConfig(32)
    assert official.downsamplings == 4
    assert AutoencoderConfig(14, channel_multipliers=(1, 2, 4, 4), stride=8).downsamplings == 3
    assert AutoencoderConfig(16, 64, (1, 2, 2), stem_patch=4).downsamplings == 2
    with pytest.raises(ValueError, match="power of two"):
        AutoencoderConfig(16, stride=12)
    with pytest.raises(ValueError, match="downsamplings"):
        AutoencoderConfig(16, channel_multipliers=(1, 2))


def test_group_rule() -> None:
    assert [group_count(c) for c in (32, 48, 96, 128)] == [32, 24, 32, 32]
