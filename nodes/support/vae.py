"""The VAE as ComfyUI's own nodes use one: VAE Decode, VAE Encode and their tiled forms.

ComfyUI has no interface for VAEs, only its class, whose constructor takes a state dict of a kind
it knows. This object has the methods and sizes that core nodes ask for, and its own conversions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .host import Part, load, manager, say, to_comfy

USES = "VAE Decode, VAE Encode, their tiled forms, VAE Encode (for Inpainting) and Save VAE"
FOREIGN = frozenset({"audio_sample_rate"})
"""What nodes for sound ask of a VAE, and go on without: they would play a picture."""

TILE = 32
"""Latent pixels of a tile where the whole does not fit the memory."""


class Network:
    """The network of a VAE, as nodes see it that look into VAEs.

    Args:
        net: whose attributes it has.
    """

    def __init__(self, net: Any) -> None:
        self.net = net

    def __getattr__(self, name: str) -> Any:
        if name == "net":  # while it is copied
            raise AttributeError(name)
        if hasattr(self.net, name):
            return getattr(self.net, name)
        raise AttributeError(unsuited(name))


class InfinityVAE:
    """The socket VAE.

    ComfyUI's Select VAE Device copies such an object and gives the copy a patcher of its own, and
    with it a network and a device: all three are the part's, so that they stay one thing.

    Attributes:
        part: the network in the care of ComfyUI's memory manager.
        upscale_ratio, downscale_ratio: image pixels per latent pixel.
        latent_channels: of the summed codes.
    """

    latent_dim = 2
    output_channels = 3

    def __init__(self, part: Part) -> None:
        self.part, self._network = part, Network(part.net)
        shape = part.net.shape
        self.upscale_ratio = self.downscale_ratio = int(shape.stride)
        self.latent_channels = int(shape.latent_channels)
        # Where ComfyUI gets another one for another GPU from; older ones do not ask.
        self.patcher.cached_patcher_init = (
            _another, (part.net, part.device, self.patcher.offload_device))

    def __getattr__(self, name: str) -> Any:
        """What a node of other models looks for; not to be found, in words."""
        if name == "part" or name.startswith("_"):  # of this object itself, while it is copied
            raise AttributeError(name)
        if name in FOREIGN:
            raise ValueError(unsuited(name))
        raise AttributeError(unsuited(name))

    @property
    def patcher(self) -> Any:
        return self.part.patcher

    @patcher.setter
    def patcher(self, patcher: Any) -> None:
        self.part = Part(patcher)  # the VAE that this one is a copy of keeps its own
        if self._network.net is not self.part.net:
            self._network = Network(self.part.net)

    @property
    def first_stage_model(self) -> Network:
        return self._network

    @first_stage_model.setter
    def first_stage_model(self, model: Any) -> None:
        if getattr(model, "net", model) is not self.part.net:
            raise ValueError("the VAE's network is its patcher's: set the patcher instead")

    @property
    def device(self) -> torch.device:
        return self.part.device

    @device.setter
    def device(self, device: torch.device | str) -> None:
        self.patcher.load_device = torch.device(device)

    @property
    def output_device(self) -> torch.device:
        return manager.intermediate_device()

    @property
    def vae_dtype(self) -> torch.dtype:
        return self.part.net.dtype

    def spacial_compression_decode(self) -> int:
        return self.upscale_ratio

    def spacial_compression_encode(self) -> int:
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        return None

    def throw_exception_if_invalid(self) -> None:
        """Core nodes ask; this one is always whole."""

    def get_sd(self) -> dict[str, Tensor]:
        return self.part.net.state_dict()

    def decode(self, samples_in: Tensor, vae_options: Any = None) -> Tensor:
        """[B, d, h, w] summed codes -> IMAGE [B, H, W, 3]."""
        if vae_options:
            raise ValueError(unsuited(", ".join(map(str, vae_options))))
        return self._decode(samples_in, None)

    def decode_tiled(self, samples: Tensor, tile_x: int | None = None, tile_y: int | None = None,
                     overlap: int | None = None, tile_t: Any = None, overlap_t: Any = None
                     ) -> Tensor:
        """In tiles of ``tile_x`` latent pixels that overlap by a quarter, whatever ``overlap``."""
        return self._decode(samples, max(4, tile_x or TILE))

    def _decode(self, codes: Tensor, tile: int | None) -> Tensor:
        self._check(codes)
        height, width = (n * self.upscale_ratio for n in codes.shape[-2:])
        self.wake(height, width, tile)
        return torch.cat([to_comfy(self._whole_or_tiled(one, tile)) for one in codes.split(1)])

    def _check(self, codes: Tensor) -> None:
        """Refuse latents of other models."""
        shape = tuple(codes.shape)
        if len(shape) != 4 or shape[1] != self.latent_channels:
            raise ValueError(
                f"the latent has the shape {shape}, Infinity's VAE takes [images, "
                f"{self.latent_channels}, height, width]: this is another model's latent. Connect "
                "the latent of the Accelerated Sampler, or of VAE Encode with this VAE; or decode "
                "it with the VAE of its own model"
            )

    def wake(self, height: int, width: int, tile: int | None = None) -> None:
        """To its device, with room for one picture of this many pixels, or for a tile of it."""
        from ...toprovar.memory.needs import picture_bytes_of

        own = self.part.net
        load([self.part], picture_bytes_of(own.shape, own.dtype, height, width, tile,
                                           self.device.type == "cuda"))

    def _whole_or_tiled(self, codes: Tensor, tile: int | None) -> Tensor:
        codes = codes.to(self.device)
        try:
            return self.part.net.decode(codes, tile)
        except manager.OOM_EXCEPTION:
            if tile is not None:
                raise
        say(f"memory ran out: decoded in tiles of {TILE} latent pixels, which is a little off the "
            "whole picture")
        return self.part.net.decode(codes, TILE)  # the failed try's memory is free here

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """IMAGE [B, H, W, 3] -> [B, d, h, w], cropped to whole latent pixels. Not quantised."""
        if pixel_samples.ndim != 4 or pixel_samples.shape[-1] < 3:
            raise ValueError(
                f"the picture has the shape {tuple(pixel_samples.shape)}, Infinity's VAE takes "
                "pictures [images, height, width, 3], no videos and nothing else: connect a node "
                "that gives an IMAGE"
            )
        image = self._cropped(pixel_samples[..., :3])
        self.wake(*image.shape[1:3])
        return self._each(image, self.part.net.encode)

    def encode_tiled(self, pixel_samples: Tensor, **tiles: Any) -> Tensor:
        """Whole: the encoder takes less memory than the decoder, which ran at this size."""
        return self.encode(pixel_samples)

    def _each(self, image: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        found = []
        for one in image.split(1):
            signed = one.movedim(-1, 1).to(self.device) * 2 - 1
            found.append(encode(signed).float().to(self.output_device))
        return torch.cat(found)

    def _cropped(self, image: Tensor) -> Tensor:
        """The middle, of whole latent pixels."""
        for axis in (1, 2):
            size = image.shape[axis]
            kept = size // self.downscale_ratio * self.downscale_ratio
            if not kept:
                raise ValueError(
                    f"the picture is {image.shape[2]} x {image.shape[1]} pixels, VAE Encode needs "
                    f"at least {self.downscale_ratio} on each side: use a larger one"
                )
            image = image.narrow(axis, (size - kept) // 2, kept)
        return image


def unsuited(asked: str) -> str:
    """What to say to a node for other kinds of VAEs.

    Args:
        asked: what it wants of the VAE.
    """
    return (f"this node needs a VAE of the kind it was made for ({asked!r} is asked of it). "
            f"Infinity's VAE serves {USES}: connect the node to its own model's VAE")


def _another(net: Any, device: torch.device, offload: torch.device) -> Any:
    """A patcher with a copy of the network, whose weights are at rest."""
    from .patchers import whole_part

    with torch.inference_mode(False):  # like the loader's: weights that can be moved anywhere
        return whole_part(copy.deepcopy(net).to(offload), device, offload).patcher
