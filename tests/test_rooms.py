"""Two rooms that take turns, and memory that goes with its owner."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch

from tests.tiny import random_text, tiny_text_encoder, tiny_transformer
from toprovar.host_memory import HostBuffer, Packing
from toprovar.models.text_streaming import forget_text_stream, stream_text
from toprovar.rooms import Rooms
from toprovar.sampling.hosted_cache import HostedCache
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.sampling.streaming import forget_stream, stream_blocks
from toprovar.schedules import get_schedule

CPU = torch.device("cpu")


class Shelf:
    """What was brought to which room."""

    def __init__(self) -> None:
        self.brought: list[tuple[int, int]] = []
        self.rooms = Rooms(CPU, self.bring)

    def bring(self, item: int, room: int) -> None:
        self.brought.append((item, room))


def test_each_item_is_sent_for_while_the_one_before_is_used() -> None:
    shelf = Shelf()
    shelf.rooms.begin([3, 5, 8])
    assert shelf.brought == [(3, 0)]
    assert shelf.rooms.use(3) == 0 and shelf.brought == [(3, 0), (5, 1)]
    assert shelf.rooms.use(3) == 0 and len(shelf.brought) == 2  # once more is nothing new
    assert shelf.rooms.use(5) == 1 and shelf.brought[-1] == (8, 0)
    assert shelf.rooms.use(8) == 0 and len(shelf.brought) == 3


def test_items_may_be_left_out_or_not_announced() -> None:
    shelf = Shelf()
    shelf.rooms.begin([1, 2, 3])
    shelf.rooms.use(1)
    assert shelf.rooms.use(3) == 1 and shelf.brought[-1] == (3, 1)  # 2 was on its way for nothing
    assert shelf.rooms.use(7) == 0
    shelf.rooms.begin([])
    assert shelf.rooms.use(7) == 0 and shelf.brought.count((7, 0)) == 2  # forgotten in between


@pytest.fixture
def without_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_gc")
def test_memory_goes_with_its_owner_at_once() -> None:
    """What is left to the garbage collector is still on the device when it is needed elsewhere."""
    transformer, encoder = tiny_transformer(), tiny_text_encoder()
    found = [weakref.ref(stream_blocks(transformer, "cpu")),
             weakref.ref(HostedCache([(1, 1), (4, 4)], (0, 1), 1, 1, 2, torch.float32, CPU))]
    text = stream_text(encoder, "cpu", 2)
    assert text is not None
    found.append(weakref.ref(text))
    schedule = get_schedule("1.0", "0.06M")
    run = SamplingRun(transformer, random_text(3), SamplingParams(schedule),
                      options=EngineOptions(fused=True, hosted_layers=2))
    found.append(weakref.ref(run.runner.cache))
    list(run)
    del text, run
    forget_stream(transformer)
    forget_text_stream(encoder)
    assert [ref() for ref in found] == [None] * 4


def test_packed_tensors_are_where_they_were_put() -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16)}
    packing = Packing.of(tensors)
    assert packing.nbytes % 256 == 0
    buffer = HostBuffer(packing.nbytes, CPU)
    for name, view in packing.views(buffer.data).items():
        view.copy_(tensors[name])
    again = packing.views(buffer.data.clone())
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert not buffer.pinned
