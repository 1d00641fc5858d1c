"""The training loop that both models share: pace, averaging, checkpoints, logs."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training import parallel
from training.bundles import part, read_bundle, write_bundle
from training.data.files import replacing
from training.ema import Ema
from training.journal import Journal
from training.optim import set_lr
from training.pace import Pace, lr_factor
from training.settings import RunSettings
from training.stream import Batch

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"
_QUEUED_STEPS = 2
_WARM_STEPS = 50
_RANKS_APART = 1000
"""Between the seeds of two processes."""


class Stage(Protocol):
    """What a loop trains."""

    modules: dict[str, nn.Module]
    optimizers: list[torch.optim.Optimizer]

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and numbers to log (0-D or 1-D tensors)."""
        ...

    def check(self, sheet: Path) -> dict[str, Any]:
        """Quality on held-out scenes with the weights now in the modules; draws a sheet."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON values that rebuild the modules; saved beside the weights."""
        ...


@dataclass
class Counter:
    """Where a run stands."""

    step: int = 0
    images: int = 0
    progress: float = 0.0


class Loop:
    """Runs a stage.

    Args:
        out: folder of the run: checkpoint, log, sheet and the bundle of averaged weights.
        until: share of the whole run at which this leg ends.
        bring: folder that gets a flat copy of all but the checkpoint after every check.
    """

    def __init__(
        self,
        stage: Stage,
        settings: RunSettings,
        out: Path,
        until: float = 1.0,
        bring: Path | None = None,
    ) -> None:
        self.stage, self.settings, self.out, self.until = stage, settings, out, until
        self.bring = bring
        self.parameters = [p for m in stage.modules.values() for p in m.parameters()]
        self.device = self.parameters[0].device
        self.ema = Ema(self.parameters, settings.ema)
        self.counter = Counter()
        self._warm_from = 0
        self.journal = Journal(out)

    # Where a run can begin

    def resume(self) -> None:
        """Go on exactly where the checkpoint was written."""
        state = torch.load(self.out / CHECKPOINT, map_location=self.device, weights_only=True)
        for name, module in self.stage.modules.items():
            module.load_state_dict(state["modules"][name])
        for optimizer, saved in zip(self.stage.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ema.load_state_dict(state["ema"])
        self.counter = Counter(**state["counter"])
        self._warm_from = int(state["warm_from"])

    def start_from(self, folder: Path, keep_progress: bool) -> None:
        """Begin at a bundle's averaged weights, with fresh optimisers.

        ``keep_progress`` continues its learning-rate schedule instead of starting a new one.
        """
        tensors, info = read_bundle(folder)
        for name, module in self.stage.modules.items():
            load_part(module, part(tensors, name))
        self.ema.reset()
        self.counter = Counter(info["step"], info["images"])
        if keep_progress:
            self.counter.progress = info["progress"]
        self._warm_from = self.counter.step

    # What it leaves behind

    def save(self) -> None:
        """Write the checkpoint; of several processes the first one does."""
        if parallel.rank():
            return
        state = {
            "modules": {n: m.state_dict() for n, m in self.stage.modules.items()},
            "optimizers": [o.state_dict() for o in self.stage.optimizers],
            "ema": self.ema.state_dict(),
            "counter": vars(self.counter),
            "warm_from": self._warm_from,
        }
        with replacing(self.out / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def check(self) -> dict[str, Any]:
        """Judge the averaged weights on held-out scenes and write them as a bundle; of several
        processes the first one does."""
        if parallel.rank():
            return {}
        with self.ema.applied():
            found = self.stage.check(self.out / "sheet.png")
            tensors = {
                f"{name}.{key}": value
                for name, module in self.stage.modules.items()
                for key, value in dict(module.named_parameters()).items()
            }
            write_bundle(
                self.out / "bundle",
                tensors,
                {**vars(self.counter), "check": found, **self.stage.describe()},
            )
        self.journal.write("check", {**vars(self.counter), **found})
        if self.bring:
            self.bring.mkdir(parents=True, exist_ok=True)
            brought = (
                *(self.out / "bundle").iterdir(),
                self.out / "log.jsonl",
                self.out / "sheet.png",
            )
            for path in brought:
                shutil.copyfile(path, self.bring / path.name)
        return found

    # The run

    def run(self, batches: Iterator[Batch]) -> dict[str, Any]:
        """Train until the leg is over; returns the last check."""
        settings, counter, stage = self.settings, self.counter, self.stage
        pace = Pace(settings.minutes, settings.steps, counter.progress, self.until)
        meter = _Meter(counter.images)
        generator = torch.Generator(self.device)
        queue: list[torch.cuda.Event] = []
        first, compiled = counter.step, set()
        begin = last_check = last_save = time.monotonic()
        while True:
            now = time.monotonic()
            over, counter.progress, check, save = parallel.told((
                pace.finished(counter.step), pace.progress(counter.step),
                now - last_check > settings.check_every, now - last_save > settings.save_every,
            ))
            if over:
                break
            if check:
                self.check()
                last_check, meter = time.monotonic(), _Meter(counter.images)
            if save:
                self.save()
                last_save = time.monotonic()
            set_lr(
                stage.optimizers,
                lr_factor(
                    counter.progress,
                    counter.step - self._warm_from,
                    settings.warmup,
                    settings.final_lr,
                ),
            )
            own = settings.seed + _RANKS_APART * parallel.rank()
            generator.manual_seed(own * 10**9 + counter.step)
            batch = next(batches)
            meter.add(self._step(batch, generator))
            counter.images += batch.view.batch * parallel.world()
            counter.step += 1
            self._bound_queue(queue)
            if batch.view not in compiled and counter.step - first <= _WARM_STEPS:
                compiled.add(batch.view)
                self._synchronize()
                pace.restart_clock()
                log.info("first step of %s, %.1f s in", batch.view.label, time.monotonic() - begin)
                meter = _Meter(counter.images)
            elif counter.step % settings.log_every == 0:
                self._report(meter)
                meter = _Meter(counter.images)
        counter.progress = min(parallel.told((pace.progress(counter.step),))[0], self.until)
        self.save()
        return self.check()

    def _step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        loss, numbers = self.stage.loss(batch, generator)
        loss.backward()
        parallel.average_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        for optimizer in self.stage.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        return {f"{batch.view.label} {name}": value for name, value in numbers.items()} | {
            "loss": loss.detach(),
            "grad_norm": norm.detach(),
        }

    def _report(self, meter: _Meter) -> None:
        self._synchronize()
        numbers = meter.numbers(self.counter.images)
        if not math.isfinite(numbers["loss"]):
            raise FloatingPointError(f"the loss is {numbers['loss']} at step {self.counter.step}")
        if parallel.rank():
            return
        lr = self.stage.optimizers[0].param_groups[0]["lr"]
        memory = {}
        if self.device.type == "cuda":
            memory["gpu_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.journal.write("train", {**vars(self.counter), "lr": lr, **memory, **numbers})

    def _bound_queue(self, queue: list[torch.cuda.Event]) -> None:
        """Keep the host at most a few steps ahead, so that the clock means something."""
        if self.device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        queue.append(event)
        if len(queue) > _QUEUED_STEPS:
            queue.pop(0).synchronize()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def load_part(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Parameters from a bundle; buffers keep what they have (they are constants)."""
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    wanted = {name for name, _ in module.named_parameters()}
    if unexpected or wanted & set(missing):
        raise ValueError(
            f"weights do not fit: missing {sorted(wanted & set(missing))[:3]}, "
            f"unexpected {unexpected[:3]}"
        )


class _Meter:
    """Means over the steps since the last log line, and the rate."""

    def __init__(self, images: int) -> None:
        self._images, self._begin = images, time.monotonic()
        self._values: dict[str, list[Tensor]] = {}

    def add(self, numbers: dict[str, Tensor]) -> None:
        for name, value in numbers.items():
            self._values.setdefault(name, []).append(value.detach())

    def numbers(self, images: int) -> dict[str, Any]:
        means = {n: torch.stack(v).float().mean(0).tolist() for n, v in self._values.items()}
        seconds = time.monotonic() - self._begin
        return {**means, "images_per_s": (images - self._images) / seconds}
