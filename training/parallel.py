"""Several processes that train one model, each on a GPU and on pictures of its own.

Start a program with ``torchrun --nproc-per-node 2 -m training...``: gradients are averaged over the
processes, so a step sees as many pictures more. Everything here does nothing in a lone process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

_words: list[Any] = []


def rank() -> int:
    """The number of this process, 0 for the one that writes files."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_of(name: str | None) -> torch.device:
    """This process's device; ``name`` None = a GPU where there is one."""
    found = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cuda" and found.index is None:
        found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
    return found


def start(device: torch.device) -> None:
    """Join the other processes, if there are any."""
    if world() == 1 or dist.is_initialized():
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    # Words between the processes go past the GPU, so that they do not wait for its queue.
    _words.append(dist.new_group(backend="gloo"))


def stop() -> None:
    """Leave the other processes, when all have come so far. Not to be called after an error, at
    which the others would wait for ever; ``torchrun`` ends them."""
    if dist.is_initialized():
        dist.barrier(_words[0])
        _words.clear()
        dist.destroy_process_group()


def told(values: Sequence[float]) -> list[float]:
    """What process 0 says: its ``values``, in every process."""
    if not dist.is_initialized():
        return list(values)
    sent = torch.tensor(values, dtype=torch.float64)
    dist.broadcast(sent, 0, group=_words[0])
    return sent.tolist()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Every gradient becomes the mean over the processes."""
    if not dist.is_initialized():
        return
    grads: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
    joined = _flatten_dense_tensors(grads)
    dist.all_reduce(joined)
    joined /= world()
    for grad, mean in zip(grads, _unflatten_dense_tensors(joined, grads), strict=True):
        grad.copy_(mean)
