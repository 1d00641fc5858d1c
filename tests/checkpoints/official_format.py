"""Small models in the official checkpoint format, written down independently of the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from toprovar.checkpoints.sources import TensorInfo, TensorSource

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"

State = dict[str, Tensor]


def fixtures() -> Path:
    if not FIXTURES.is_dir():
        pytest.skip("the golden fixtures (../shared/fixtures) are not at hand")
    return FIXTURES


def transformer_shapes(
    depth: int = 4, width: int = 64, heads: int = 2, bits: int = 8, chunks: int = 2,
    text: int = 256, text_rows: int = 12, hidden: int = 256,
) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of a transformer."""
    c, pool = width, text // 128
    shapes: dict[str, tuple[int, ...]] = {
        "cfg_uncond": (text_rows, text),
        "pos_start": (1, 1, c),
        "text_norm.weight": (text,),
        "text_proj_for_sos.ca.mat_q": (1, pool, c // pool),
        "text_proj_for_sos.ca.v_bias": (c,),
        "text_proj_for_sos.ca.zero_k_bias": (c,),
        "text_proj_for_sos.ca.mat_kv.weight": (2 * c, text),
        "text_proj_for_sos.ca.proj.weight": (c, c),
        "text_proj_for_sos.ca.proj.bias": (c,),
        "text_proj_for_ca.0.weight": (c, text),
        "text_proj_for_ca.0.bias": (c,),
        "text_proj_for_ca.2.weight": (c, c),
        "text_proj_for_ca.2.bias": (c,),
        "lvl_embed.weight": (15, c),
        "word_embed.weight": (c, bits),
        "word_embed.bias": (c,),
        "shared_ada_lin.1.weight": (6 * c, c),
        "shared_ada_lin.1.bias": (6 * c,),
        "head_nm.ada_lin.1.weight": (2 * c, c),
        "head_nm.ada_lin.1.bias": (2 * c,),
        "head.weight": (2 * bits, c),
        "head.bias": (2 * bits,),
    }
    inner: dict[str, tuple[int, ...]] = {
        "ada_gss": (1, 1, 6, c),
        "sa.scale_mul_1H11": (1, heads, 1, 1),
        "sa.q_bias": (c,), "sa.v_bias": (c,), "sa.zero_k_bias": (c,),
        "sa.mat_qkv.weight": (3 * c, c), "sa.proj.weight": (c, c), "sa.proj.bias": (c,),
        "ca.v_bias": (c,), "ca.zero_k_bias": (c,),
        "ca.mat_q.weight": (c, c), "ca.mat_q.bias": (c,), "ca.mat_kv.weight": (2 * c, c),
        "ca.proj.weight": (c, c), "ca.proj.bias": (c,),
        "ffn.fc1.weight": (hidden, c), "ffn.fc1.bias": (hidden,),
        "ffn.fc2.weight": (c, hidden), "ffn.fc2.bias": (c,),
        "ca_norm.weight": (c,), "ca_norm.bias": (c,),
    }
    for block in range(depth):
        chunk, index = divmod(block, depth // chunks)
        prefix = f"block_chunks.{chunk}.module.{index}." if chunks > 1 else f"blocks.{block}."
        shapes.update({prefix + name: shape for name, shape in inner.items()})
    return shapes


def vae_shapes(
    channels: int = 8, base: int = 32, multipliers: tuple[int, ...] = (1, 1, 2), steps: int = 2,
    blocks: int = 2, wrapped: bool = True, masks: bool = True, image_channels: int = 3,
) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of a VAE; ``wrapped`` = with the inner .conv and .norm."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, into: int, out: int, size: int = 3) -> None:
        name += ".conv" * wrapped
        shapes[name + ".weight"] = (out, into, size, size)
        shapes[name + ".bias"] = (out,)

    def norm(name: str, width: int) -> None:
        name += ".norm" * wrapped
        shapes[name + ".weight"] = shapes[name + ".bias"] = (width,)

    def block(name: str, into: int, out: int) -> None:
        norm(f"{name}.norm1", into)
        conv(f"{name}.conv1", into, out)
        norm(f"{name}.norm2", out)
        conv(f"{name}.conv2", out, out)
        if into != out:
            conv(f"{name}.nin_shortcut", into, out, 1)

    widths = [base * m for m in multipliers]
    conv("encoder.conv_in", image_channels, base)
    before = base
    for level, width in enumerate(widths):
        for index in range(blocks):
            block(f"encoder.down.{level}.block.{index}", before, width)
            before = width
        if level < steps:
            conv(f"encoder.down.{level}.downsample.conv", width, width)
    conv("decoder.conv_in", channels, widths[-1])
    for side in ("encoder", "decoder"):
        for number in (1, 2):
            block(f"{side}.mid.block_{number}", widths[-1], widths[-1])
    norm("encoder.norm_out", widths[-1])
    conv("encoder.conv_out", widths[-1], channels)
    before = widths[-1]
    for level in reversed(range(len(widths))):
        for index in range(blocks + 1):
            block(f"decoder.up.{level}.block.{index}", before, widths[level])
            before = widths[level]
        if 1 <= level <= steps:
            conv(f"decoder.up.{level}.upsample.conv", before, before)
    norm("decoder.norm_out", base)
    conv("decoder.conv_out", base, image_channels)
    if masks:
        shapes["quantizer.lfq.mask"] = shapes["quantize.lfq.mask"] = (channels,)
    return shapes


def random_state(
    shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32, seed: int = 0
) -> State:
    generator = torch.Generator().manual_seed(seed)

    def make(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("lfq.mask"):
            return torch.tensor([2 ** (shape[0] - 1 - j) for j in range(shape[0])])
        if name.endswith("zero_k_bias"):
            return torch.zeros(shape, dtype=dtype)
        return torch.randn(shape, generator=generator).to(dtype)

    return {name: make(name, shape) for name, shape in shapes.items()}


def official_state(seed: int = 0, dtype: torch.dtype = torch.float32, **shape: int) -> State:
    return random_state(transformer_shapes(**shape), dtype, seed)


def official_vae(seed: int = 1, dtype: torch.dtype = torch.float32, **shape) -> State:
    return random_state(vae_shapes(**shape), dtype, seed)


def write_shards(folder: Path, state: State, suffix: str = "safetensors", count: int = 3) -> Path:
    """A sharded folder as transformers writes it, in safetensors or .bin."""
    folder.mkdir(parents=True)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = [f"{stem}-{n + 1:05}-of-{count:05}.{suffix}" for n in range(count)]
    weight_map = {key: names[n * count // len(state)] for n, key in enumerate(state)}
    for name in names:
        part = {k: state[k] for k, shard in weight_map.items() if shard == name}
        save_file(part, folder / name) if suffix == "safetensors" else torch.save(
            part, folder / name
        )
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def read_official(path: Path) -> State:
    """The tensors of an official file or sharded safetensors folder."""
    if path.is_dir():
        index = json.loads((path / "model.safetensors.index.json").read_text())
        state: State = {}
        for name in set(index["weight_map"].values()):
            state.update(load_file(path / name))
        return state
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, weights_only=True)
    return content.get("vae", content)


def assert_same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Same names, dtypes and bits."""
    assert set(a) == set(b), sorted(set(a) ^ set(b))[:4]
    for key in a:
        assert a[key].dtype == b[key].dtype and a[key].shape == b[key].shape, key
        assert _bytes(a[key]) == _bytes(b[key]), key


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


class ShapesOnly(TensorSource):
    """A checkpoint known by its names and shapes alone."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path = Path("shapes")
        self.infos = {
            k: TensorInfo(tuple(s), torch.int64 if k.endswith("mask") else torch.float32, self.path)
            for k, s in shapes.items()
        }

    def get(self, key: str) -> Tensor:
        raise AssertionError(f"{key} was read")

    def release(self) -> None:
        pass


def real_shapes(entry: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Names and shapes of a released model and its parameter count, from the fixtures."""
    table = json.loads((fixtures() / "official_checkpoint_keys.json").read_text())
    row = table[entry]
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in row["keys"].items():
        if "{c}" not in key:
            shapes[key] = tuple(shape)
            continue
        for c in range(row["block_chunks"]):
            for i in range(row["blocks_per_chunk"]):
                shapes[key.format(c=c, i=i)] = tuple(shape)
    return shapes, row["params"]
