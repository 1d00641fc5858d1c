"""Known models: the table, and recognising the real ones by names and shapes alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.checkpoints.official_format import ShapesOnly, real_shapes
from toprovar.checkpoints.keys import MASKS
from toprovar.checkpoints.recognise import match_autoencoder, recognise
from toprovar.checkpoints.verify import build_meta, check, file_name
from toprovar.models.config import AutoencoderConfig, TransformerConfig
from toprovar.models.variants import (
    autoencoder_for,
    autoencoder_variants,
    default_sampling,
    get_variant,
    recognise_autoencoder,
    recognise_variant,
    transformer_variants,
)

REAL = {
    "infinity_2b": ("2b", 2_204_564_032),
    "infinity_8b": ("8b", 8_375_791_824),
    "infinity_layer12 (125M)": ("125m", 125_148_800),
}
REAL_VAES = {
    "vae d32 / d32reg (16,24,64 differ only in codebook_dim)": ("d32reg", 110_118_051),
    "vae d56_f8_14_patchify": ("d56_f8_14_patchify", 81_624_209),
}


@pytest.mark.parametrize("entry", REAL)
def test_real_transformers_are_recognised(entry: str) -> None:
    name, params = REAL[entry]
    shapes, listed = real_shapes(entry)
    assert listed == params
    source = ShapesOnly(shapes)
    found = recognise(source)
    assert found.kind == "transformer"
    assert found.config == get_variant(name).config
    names = check(source, found)
    assert set(names.values()) == set(shapes)
    counted = [k for k in names if not k.endswith("zero_k_bias")]
    assert sum(math.prod(shapes[names[k]]) for k in counted) == params
    assert sum(p.numel() for p in build_meta(found.config).parameters()) == params
    assert {file_name(k, found.config, official=True) for k in names} == set(shapes)


@pytest.mark.parametrize("entry", REAL_VAES)
@pytest.mark.parametrize("wrapped", [True, False])
def test_real_autoencoders_are_recognised(entry: str, wrapped: bool) -> None:
    name, params = REAL_VAES[entry]
    shapes, listed = real_shapes(entry)
    assert listed == params
    canonical = set(shapes) - set(MASKS)
    if not wrapped:
        shapes = {
            k.replace(".conv.conv.", ".conv*").replace(".conv.", ".").replace(".norm.", ".")
            .replace(".conv*", ".conv."): v
            for k, v in shapes.items()
        }
    source = ShapesOnly(shapes)
    found = recognise(source)
    assert found.kind == "vae"
    assert found.config == autoencoder_variants()[name].config
    names = check(source, found)
    assert sum(math.prod(shapes[k]) for k in names.values()) == params
    assert sum(p.numel() for p in build_meta(found.config).parameters()) == params
    assert {file_name(k, found.config, official=True) for k in names} == canonical


@pytest.mark.parametrize("channels", [16, 24, 64])
def test_other_widths_of_the_large_autoencoder(channels: int) -> None:
    shapes, _ = real_shapes("vae d32 / d32reg (16,24,64 differ only in codebook_dim)")
    for key in ("encoder.conv_out.conv.weight", "encoder.conv_out.conv.bias"):
        shapes[key] = (channels, *shapes[key][1:])
    shapes["decoder.conv_in.conv.weight"] = (512, channels, 3, 3)
    source = ShapesOnly(shapes)
    found = recognise(source)
    check(source, found)
    assert isinstance(found.config, AutoencoderConfig)
    assert recognise_autoencoder(found.config) == f"d{channels}"


def test_every_named_size_of_the_official_code_is_there() -> None:
    sizes = {
        (v.config.depth, v.config.width, v.config.num_heads, v.config.block_chunks)
        for v in transformer_variants().values()
    }
    assert sizes == {
        (32, 2048, 16, 8), (40, 3584, 28, 8), (12, 768, 8, 4), (16, 1152, 12, 4),
        (24, 1536, 16, 4), (32, 2080, 20, 4), (40, 2688, 24, 4), (48, 3360, 28, 4),
    }
    assert set(autoencoder_variants()) == {
        "d16", "d24", "d32", "d32reg", "d64", "d56_f8_14_patchify",
    }
    for variant in transformer_variants().values():
        vae = autoencoder_variants()[variant.vae].config
        assert match_autoencoder(variant.config, vae.latent_channels) == variant.config
        assert vae.stride * variant.config.patch == 16
        assert (variant.top_k, variant.top_p) == (900, 0.97)


def test_models_of_equal_shape_name_each_other() -> None:
    assert get_variant("8b").same_shape == ("8b-512",)
    assert get_variant("8b-512").same_shape == ("8b",)
    assert get_variant("2b").same_shape == ()
    assert recognise_variant(get_variant("8b-512").config) == "8b"
    assert (get_variant("8b").pn, get_variant("8b-512").pn) == ("1M", "0.25M")
    assert autoencoder_variants()["d32"].same_shape == ("d32reg",)


def test_variants_are_recognised_by_what_matters() -> None:
    config = get_variant("2b").config
    assert recognise_variant(replace(config, text_max_length=300, block_chunks=1)) == "2b"
    assert recognise_variant(replace(config, bits_per_token=16)) is None
    assert recognise_variant(replace(config, num_heads=32)) is None
    assert default_sampling(config) == {
        "default_pn": "1M", "default_cfg": 4.0, "default_tau": 0.5,
    }
    assert default_sampling(replace(config, depth=31, block_chunks=1)) == {}
    assert autoencoder_for(config) == "d32reg"
    assert autoencoder_for(get_variant("8b").config) == "d56_f8_14_patchify"
    assert autoencoder_for(replace(get_variant("layer24").config, bits_per_token=64)) == "d64"
    assert autoencoder_for(replace(config, bits_per_token=5)) is None
    with pytest.raises(ValueError, match="expected one of 2b, 8b"):
        get_variant("3b")


def test_pairing_decides_about_patchify() -> None:
    config = TransformerConfig(depth=2, width=64, num_heads=2, bits_per_token=32)
    assert not match_autoencoder(config, 32).spatial_patchify
    assert match_autoencoder(config, 8).spatial_patchify
    with pytest.raises(ValueError, match=r"32 bits a token, the VAE has 16 channels"):
        match_autoencoder(config, 16)
