"""Settings of a training run, read strictly from a JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from toprovar.models.config import AutoencoderConfig, TransformerConfig
from toprovar.schedules import ScaleSchedule, get_schedule
from training.data.holdout import SALT

T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """One kind of batch: square pictures of a pixel budget.

    Attributes:
        pn: pixel budget of the schedule ("0.06M" is 256 x 256, "0.25M" 512 x 512).
        batch: pictures a batch.
        share: how often this view is drawn, relative to the others.
        scales: train only the first so many scales (transformer); 0 = all.
        tasks: weight of each task of the scenes; empty = the usual ones.
        placed: share of the lone objects that stand at a side, and are said to.
        bank: keep the latents of so many batches and show them again under new captions
            (transformer); 0 = compose every batch anew.
        compiled: whether compiled functions serve this view; a rare one is not worth the wait.
        salt: names the split into combinations that are shown and held out.
    """

    pn: str = "0.06M"
    batch: int = 128
    share: float = 1.0
    scales: int = 0
    tasks: tuple[tuple[str, float], ...] = ()
    placed: float = 0.0
    bank: int = 0
    compiled: bool = True
    salt: str = SALT

    @property
    def schedule(self) -> ScaleSchedule:
        return get_schedule("1.0", self.pn)

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.schedule.image_size[0]

    @property
    def scale_count(self) -> int:
        return self.scales or len(self.schedule)

    @property
    def label(self) -> str:
        return f"{self.pn}/{self.scale_count}{'*' if self.tasks else ''}"


@dataclass(frozen=True)
class RunSettings:
    """How a run is paced and watched, whatever it trains.

    Attributes:
        minutes: length of the run by the clock; ignored when ``steps`` is given.
        steps: length in steps, for runs that must repeat exactly; 0 = by the clock.
        warmup: steps until the full learning rate.
        final_lr: learning rate at the end as a share of the full one.
        ema: decay of the averaged weights.
        compute: dtype of the wide matrix products.
        compile: compile the hot functions.
        log_every: steps between log lines.
        check_every: seconds between evaluations with a sample sheet.
        save_every: seconds between checkpoints.
    """

    views: tuple[View, ...]
    seed: int = 1
    minutes: float = 6.0
    steps: int = 0
    warmup: int = 200
    final_lr: float = 0.01
    grad_clip: float = 1.0
    ema: float = 0.999
    compute: str = "bfloat16"
    compile: bool = True
    log_every: int = 25
    check_every: float = 60.0
    save_every: float = 120.0
    eval_images: int = 256
    sheet_images: int = 16


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest."""

    name: str = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    muon_lr: float = 1e-3
    muon_momentum: float = 0.95

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "muon"):
            raise ValueError(f"optimizer must be adamw or muon, got {self.name!r}")


@dataclass(frozen=True)
class ReconstructionLoss:
    """Weights of the autoencoder's loss terms, on pictures in [-1, 1].

    Attributes:
        spike: weight of what is said against spikes in the decoder's feature maps, see
            ``training.losses.spikes``; 0 = nothing.
    """

    l1: float = 1.0
    l2: float = 2.0
    gradient: float = 1.0
    commitment: float = 0.25
    spike: float = 0.0


@dataclass(frozen=True)
class TextSettings:
    """Shape of the T5 text encoder; ``length`` is that of the padded captions."""

    channels: int = 128
    layers: int = 4
    heads: int = 4
    head_dim: int = 32
    hidden: int = 256
    length: int = 32


@dataclass(frozen=True)
class BitLoss:
    """How the transformer's bits are spoilt and weighed.

    Attributes:
        flip_max: a sample's bits are flipped with a probability drawn from U(0, flip_max).
        null_share: share of captions replaced by the null text.
        scale_power: a token's weight is its scale's token count to minus this power.
    """

    flip_max: float = 0.25
    null_share: float = 0.1
    scale_power: float = 0.5


@dataclass(frozen=True)
class TokenizerSettings:
    """Everything about a run of ``training.train_tokenizer``."""

    model: AutoencoderConfig
    run: RunSettings
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: ReconstructionLoss = field(default_factory=ReconstructionLoss)


@dataclass(frozen=True)
class TransformerSettings:
    """Everything about a run of ``training.train_transformer``.

    ``sampling`` holds cfg and tau of the sample sheets.
    """

    model: TransformerConfig
    run: RunSettings
    text: TextSettings = field(default_factory=TextSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: BitLoss = field(default_factory=BitLoss)
    cfg: float = 3.0
    tau: float = 1.0


_NESTED: dict[str, Any] = {
    "AutoencoderConfig": AutoencoderConfig,
    "TransformerConfig": TransformerConfig,
    "RunSettings": RunSettings,
    "OptimizerSettings": OptimizerSettings,
    "ReconstructionLoss": ReconstructionLoss,
    "TextSettings": TextSettings,
    "BitLoss": BitLoss,
}


def parse(kind: type[T], values: dict[str, Any], where: str = "settings") -> T:
    """A settings object from plain JSON values; unknown names are errors."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(fields)}")
    ready: dict[str, Any] = {}
    for name, value in values.items():
        nested = _NESTED.get(str(fields[name].type))
        if name == "views":
            value = tuple(parse(View, view, f"{where}.views") for view in value)
        elif nested is not None:
            value = parse(nested, value, f"{where}.{name}")
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, dict):
            value = tuple(value.items())
        ready[name] = value
    return kind(**ready)


def load(kind: type[T], path: Path | str) -> T:
    """Read a settings file."""
    return parse(kind, json.loads(Path(path).read_text(encoding="utf-8")), Path(path).name)
