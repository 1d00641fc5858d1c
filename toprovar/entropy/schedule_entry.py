"""What a calibration says of one model on one schedule: values with a JSON form."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from .kinds import LayerClass, RatioScale

Side = Annotated[int, Field(ge=1, le=4096)]
FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Grown(BaseModel):
    """Values to which fields were added that files of before do not have: those that are None are
    left out of what is written, so that such a file stays as it was.

    Attributes:
        added: names of these fields.
    """

    model_config = FROZEN
    added: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in written(self).items()
                if value is not None or name not in self.added}


class Spread(BaseModel):
    """A mean and the standard deviation over prompts."""

    model_config = FROZEN

    mean: float
    sd: float = Field(ge=0)


class ScaleStatistics(BaseModel):
    """One scale, over layers and prompts.

    Attributes:
        entropy: mean over tokens and layers, nats; relative: the same over log(keys).
        rho: share of tokens below their own map's mean, mean over layers; None for one token.
        spread: std(H) / mean(H) of a map; skew: see ``statistics.quantile_skew``.
        follows: correlation with the upsampled map of the scale before; None at the first scales.
        exit_ssim: SSIM to the dense picture when this scale and all later ones are not run.
        pruned_ssim: the same when this scale and all later ones run on a share of their tokens.
            None where it was not measured.
    """

    model_config = FROZEN

    grid: tuple[Side, Side]
    entropy: Spread
    relative: Spread
    rho: Spread | None = None
    spread: Spread | None = None
    skew: Spread | None = None
    follows: Spread | None = None
    exit_ssim: Spread | None = None
    pruned_ssim: Spread | None = None


class Choice(Grown):
    """A way to do less that was tried.

    Attributes:
        guided: scales at the start that run with guidance.
        skipped: scales that are not run, ascending.
        shortcuts: (scale, layers that its shortcut leaves out), ascending.
        likeness: mean likeness to the dense pictures (``evaluation.metrics.likeness``); ssim: mean
            SSIM.
        pictures: how many were measured; half_width: of the 95 % interval of the mean likeness.
            None in files of before, as is the next.
        time: measured share of the dense run's time on the device of the calibration.
    """

    added: ClassVar[frozenset[str]] = frozenset({"pictures", "half_width", "time"})

    guided: int = Field(ge=1)
    skipped: tuple[int, ...] = ()
    shortcuts: tuple[tuple[int, int], ...] = ()
    likeness: float
    ssim: float
    pictures: int | None = Field(default=None, ge=1)
    half_width: float | None = Field(default=None, ge=0)
    time: float | None = Field(default=None, gt=0)


class SelectionWorth(BaseModel):
    """What choosing tokens by entropy is worth on one schedule, against choosing them at random, at
    the counts of plans.

    Attributes:
        rule: the cheapest rule that is as good as the best: "entropy" or "random".
        gain: mean over pictures of the likeness with entropy less that with random tokens.
        half_width: of the 95 % interval of the gain (paired, Student's t); None for fewer than two
            pictures.
        pictures: how many were compared.
        share: of the last scale's tokens that were worked on.
        decided: whether the interval says which it is; else entropy is used.
    """

    model_config = FROZEN

    rule: Literal["entropy", "random"]
    gain: float
    half_width: float | None = Field(default=None, ge=0)
    pictures: int = Field(ge=1)
    share: float = Field(gt=0, le=1)
    decided: bool

    @property
    def used(self) -> Literal["entropy", "random"]:
        """The rule that plans go by."""
        return self.rule if self.decided else "entropy"


class ScheduleEntry(Grown):
    """A model on one schedule.

    Attributes:
        start_scale: the first scale to be pruned by default; None = prune nothing.
        start_reason: why this one, in words.
        unconditional_off: scales at the end whose guidance may be left out.
        choices: what was tried of running fewer scales, and fewer with guidance; a plan for a
            budget takes the best that it can pay.
        mixing_gain: of letting half the last scale's tokens, by entropy, take a longer shortcut,
            over half-way between the two choices: a share of what lies between them.
        selection: whether it matters which of the last scale's tokens are worked on; None = not
            measured.
        representative_scale: the scale whose maps say which layers are Global.
        order_stability: mean Spearman correlation of the layers' order between prompts, there.
        beta, ratio_reference: of ``statistics.layer_score``.
        class_low, class_high: scores up to which a layer is Global, and from which it is Detail.
        principal_ratios: sigma_1 / sigma_2 of each layer: geometric mean over prompts, and the
            standard deviation of its natural logarithm.
        layer_scores: R of each layer, 1 = Detail.
        layer_classes: "ambiguous" where the score lies between, or prompts do not agree.
    """

    added: ClassVar[frozenset[str]] = frozenset({"selection"})

    pn: str
    template: str
    scales: tuple[ScaleStatistics, ...] = Field(min_length=1, max_length=64)
    start_scale: int | None
    start_reason: str = ""
    unconditional_off: int = Field(default=0, ge=0)
    choices: tuple[Choice, ...] = ()
    mixing_gain: float = Field(default=0.0, ge=0, le=0.5)
    selection: SelectionWorth | None = None
    representative_scale: int
    order_stability: float | None = None
    beta: float = Field(ge=0)
    ratio_scale: RatioScale = "log"
    ratio_reference: float = Field(default=1.0, gt=0)
    class_low: float
    class_high: float
    principal_ratios: tuple[Spread, ...]
    layer_scores: tuple[float, ...]
    layer_classes: tuple[LayerClass, ...]

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        return tuple(s.grid for s in self.scales)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in ("start_scale", "representative_scale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < len(self.scales):
                raise ValueError(f"{self.pn}: {name} {value} is not one of its "
                                 f"{len(self.scales)} scales")
        if not len(self.principal_ratios) == len(self.layer_scores) == len(self.layer_classes) > 0:
            raise ValueError(
                f"{self.pn}: {len(self.principal_ratios)} ratios, {len(self.layer_scores)} scores "
                f"and {len(self.layer_classes)} classes: expected one of each for every layer"
            )
        if not all(0 <= score <= 1 for score in self.layer_scores):
            raise ValueError(f"{self.pn}: layer scores must lie between 0 and 1, got "
                             f"{self.layer_scores}")
        if not self.class_low < self.class_high:
            raise ValueError(f"{self.pn}: class_low {self.class_low} must be below class_high "
                             f"{self.class_high}")
        for choice in self.choices:
            if choice.guided > len(self.scales) or not all(
                0 < s < len(self.scales)
                for s in (*choice.skipped, *(scale for scale, _ in choice.shortcuts))
            ) or not all(0 < n < len(self.layer_scores) for _, n in choice.shortcuts):
                raise ValueError(
                    f"{self.pn}: a choice of {choice.guided} guided scales without "
                    f"{list(choice.skipped)}, with shortcuts {list(choice.shortcuts)}, does not "
                    f"fit {len(self.scales)} scales of {len(self.layer_scores)} layers")
        return self
