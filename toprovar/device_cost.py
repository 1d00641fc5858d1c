"""Fits a cost model to this device by running a few blocks, once; the result is kept.

Where runs replay recorded scales, the blocks timed here are recorded as well: step by step a GPU
waits for launches, and every block would seem to cost the same.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from pydantic import ValidationError

from . import __version__
from .files import cache_folder, replace_file
from .graphs import GraphPool, why_no_graphs
from .models.rope import schedule_rotations
from .models.text import PackedText
from .models.transformer import InfinityTransformer
from .ops.resize_tokens import resize_tokens
from .sampling.attending import Attending
from .sampling.block_runner import gather, scatter_
from .sampling.cache import CacheLayout, KVCache
from .sampling.params import EngineOptions, SamplingParams
from .sampling.run import SamplingRun
from .sampling.setup import fuses, make_runner
from .schedules import ScaleSchedule
from .sparsity.cost import CostModel
from .sparsity.plan import ModelTag, ScalePlan, SparsityPlan, schedule_name
from .sparsity.selection import Selector

TEXT_TOKENS = 24
SHORT = 0.01
"""Seconds below which a call is timed more often."""
REPEATS = 4
"""Calls in one recording: more than the time of launching it."""
PATIENCE = 6.0
"""Seconds after which no larger size is tried."""


def cost_model_for(
    transformer: InfinityTransformer, schedule: ScaleSchedule,
    options: EngineOptions | None = None, fresh: bool = False,
) -> CostModel:
    """The cost model of this model on its device at this schedule: kept from before, or measured.

    Args:
        fresh: measure again.
    """
    path = cache_folder() / f"cost-{_key(transformer, schedule, options)}.json"
    if path.is_file() and not fresh:
        try:
            return CostModel.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError, OSError):
            pass  # of another release, or damaged: measured again
    model = measure(transformer, schedule, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, model.model_dump_json(indent=1).encode())
    except OSError:
        pass  # a read-only home: measured again next time
    return model


def measure(transformer: InfinityTransformer, schedule: ScaleSchedule,
            options: EngineOptions | None = None) -> CostModel:
    """Time blocks of several sizes, and what surrounds them, and fit a cost model."""
    bench = _Bench(transformer, schedule, options or EngineOptions())
    with torch.inference_mode():
        block, error = bench.blocks()
        extras = bench.extras()
    scale = bench.scales()
    return CostModel(
        device=device_name(bench.device), dtype=str(transformer.compute_dtype).split(".")[-1],
        block=block[0], token=block[1], pair=block[2], error=error, **extras, **scale,
    )


class _Bench:
    """Blocks of one model on one schedule, with all layers in the same room of one KV cache."""

    def __init__(self, transformer: InfinityTransformer, schedule: ScaleSchedule,
                 options: EngineOptions) -> None:
        self.transformer, self.schedule, self.options = transformer, schedule, options
        self._pool: GraphPool | None = None
        self._graphs: list[object] = []
        self.device = transformer.null_text.device
        self.depth, self.width = transformer.shape.depth, transformer.shape.width
        shape = transformer.shape
        length = min(TEXT_TOKENS, shape.text_max_length)
        features = torch.randn(length, shape.text_channels, device=self.device)
        self.text = PackedText(features, (length,))
        rows = PackedText.join([self.text, self.text])
        if options.graphs is not False and fuses(options, transformer) \
                and why_no_graphs(self.device) is None:
            self._pool = GraphPool(self.device)
        with torch.inference_mode():
            self.runner = make_runner(transformer, rows, 1, options)
            layout = CacheLayout((0,) * shape.depth, sum(schedule.tokens))
            self.runner.cache = KVCache(layout, 2, shape.num_heads, shape.head_dim,
                                        self.runner.dtype, self.device)
            for part in (self.runner.cache.keys, self.runner.cache.values):
                part.copy_(torch.randn(part.shape[2:], device=self.device))
            self.rotation = schedule_rotations(schedule, shape.head_dim, self.device)[-1]
            self._input = torch.randn(2, schedule.tokens[-1], self.width, device=self.device,
                                      dtype=options.residual_dtype)

    def blocks(self) -> tuple[tuple[float, ...], float]:
        """Coefficients (block, token, pair) and the largest relative error of the fit."""
        largest, every = self.schedule.tokens[-1], sum(self.schedule.tokens)
        self._block(min(16, largest), every)  # wakes the device
        rows: list[list[float]] = []
        times: list[float] = []
        started = time.perf_counter()
        for share in (1 / 64, 1 / 16, 1 / 4, 1 / 2, 1):
            n = max(1, int(largest * share))
            for keys in sorted({n, max(n, every // 3), every}):
                for count in ((2, 1) if share == 1 / 4 else (2,)):
                    times.append(self._time(lambda n=n, k=keys, r=count: self._block(n, k, r)))
                    rows.append([1.0, count * n, count * n * keys])
            if time.perf_counter() - started > PATIENCE and len(times) >= 6:
                break
        return _fit(rows, times)

    def extras(self) -> dict[str, float]:
        """Entropy, picking tokens, and stored updates, over what a block takes without."""
        grid, tokens = self.schedule.grids[-1], self.schedule.tokens[-1]
        n, keys = max(1, tokens // 4), sum(self.schedule.tokens)
        plain = self._time(lambda: self._block(n, keys))
        measured = self._time(lambda: self._block(n, keys, measure=True))
        x = torch.randn(2, tokens, self.width, device=self.device)
        score = torch.rand(1, tokens, device=self.device)
        step = ScalePlan(grid=grid, keep=(n,) * self.depth)
        selector = Selector(SparsityPlan(
            strategy="", model=ModelTag.of(self.transformer.shape), schedule="",
            scales=(ScalePlan(grid=grid, keep=(tokens,) * self.depth),),
        ), 1)

        def move() -> None:
            index = selector.select(0, 0, step, x, score)
            scatter_(x, index, gather(x, index))

        small = self.schedule.grids[-2] if len(self.schedule) > 1 else grid
        update = torch.randn(2, small[0] * small[1], self.width, device=self.device)
        return {
            "entropy": max(0.0, measured - plain) / (n * keys),
            "move": self._time(move) / (2 * tokens),
            "update": self._time(lambda: x.add_(resize_tokens(update, small, grid))) / (2 * tokens),
        }

    def scales(self) -> dict[str, float]:
        """A run whose blocks are all left out: what remains is the cost of scales."""
        plan = SparsityPlan(
            strategy="", model=ModelTag.of(self.transformer.shape),
            schedule=schedule_name(self.schedule),
            scales=tuple(ScalePlan(grid=g, keep=(0,) * self.depth) for g in self.schedule.grids),
        )
        params, shape = SamplingParams(self.schedule, 3.0, 0.5), self.transformer.shape
        source = None
        if shape.edits:
            height, width = (side * shape.patch for side in self.schedule.grids[-1])
            source = torch.zeros(1, shape.latent_channels, height, width, device=self.device)
        times = []
        for _ in range(5):  # the first two may compile and record
            run = SamplingRun(self.transformer, self.text, params, plan=plan,
                              options=self.options, generators=torch.Generator().manual_seed(0),
                              source=source)
            run.read_source()  # whose blocks are counted like any others
            own = []
            states = iter(run)
            for _ in self.schedule.grids:
                started = time.perf_counter()
                next(states)
                self._wait()
                own.append(time.perf_counter() - started)
            times.append(own)
        seconds = [median(column) for column in zip(*times[2:], strict=True)]
        (scale, token), _ = _fit([[1.0, n] for n in self.schedule.tokens], seconds)
        return {"scale": scale, "scale_token": token}

    def _block(self, n: int, keys: int, rows: int = 2, measure: bool = False) -> None:
        self.turn = (getattr(self, "turn", -1) + 1) % self.depth  # weights not all in cache
        cache = self.runner.cache
        cache.lengths[self.turn] = keys - n
        x = self._input[:rows, :n].contiguous()
        self.runner.block(0, self.turn, x, self.rotation[:n],
                          Attending(measure))

    def _time(self, call: Callable[[], object]) -> float:
        """Seconds of a call: the least of three after the first, of short ones, which are easily
        disturbed, the least of nine; recorded where runs are."""
        times, repeat = [], 1
        call()
        if self._pool is not None:
            repeat = REPEATS
            work = call
            graph, _ = self._pool.record(lambda: [work() for _ in range(repeat)])
            self._graphs.append(graph)  # the pool ends with the last of its graphs
            call = graph.replay
            call()
        while len(times) < (9 if min(times, default=0.0) < SHORT else 3):
            self._wait()
            started = time.perf_counter()
            call()
            self._wait()
            times.append(time.perf_counter() - started)
        return min(times) / repeat

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _fit(rows: list[list[float]], times: list[float]) -> tuple[tuple[float, ...], float]:
    """Non-negative least squares on relative errors."""
    weight = 1 / np.array(times)
    matrix, wanted = np.array(rows) * weight[:, None], np.ones(len(times))
    columns = list(range(matrix.shape[1]))
    while True:
        found, *_ = np.linalg.lstsq(matrix[:, columns], wanted, rcond=None)
        if (found >= 0).all() or len(columns) == 1:
            break
        columns = [c for c, value in zip(columns, found, strict=True) if value >= 0] or columns[:1]
    result = np.zeros(matrix.shape[1])
    result[columns] = np.maximum(found, 0)
    error = float(np.abs(matrix @ result - 1).max())
    return tuple(float(value) for value in result), error


def device_name(device: torch.device) -> str:
    """For the reader and for the cache's key."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} x {torch.get_num_threads()} threads"


def _key(transformer: InfinityTransformer, schedule: ScaleSchedule,
         options: EngineOptions | None) -> str:
    about = [
        __version__, torch.__version__, device_name(transformer.null_text.device),
        transformer.shape.to_dict(), str(transformer.compute_dtype), schedule.to_json(),
        str(options or EngineOptions()), "blocks as they are replayed",
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
