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
    """A mean over prompts and its standard deviation.

    Attributes:
        mean: the mean.
        sd: the standard deviation.
    """

    model_config = FROZEN

    mean: float
    sd: float = Field(ge=0)


class ScaleStatistics(BaseModel):
    """Measurements of one scale, over its layers and the prompts.

    Attributes:
        grid: the tokens of the scale: rows, then columns.
        entropy: the attention entropy in nats, the mean over tokens and layers.
        relative: the same divided by the logarithm of the number of keys, so that 1 is the most
            that is possible.
        rho: the share of tokens below the mean of their own entropy map, the mean over layers. None
            = the scale has one token.
        spread: the standard deviation of a map divided by its mean.
        skew: how lopsided the values of a map are, from -1 to 1; see
            ``entropy.statistics.quantile_skew``.
        follows: the correlation of a map with the enlarged map of the scale before. None at the
            first scales.
        exit_ssim: SSIM to the dense picture when this scale and all later ones are not run. None =
            not measured.
        pruned_ssim: SSIM to the dense picture when this scale and all later ones run on a part of
            their tokens. None = not measured.
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
    """One combination of savings that the calibration measured. Plans for a budget are made from
    these.

    Attributes:
        guided: how many scales at the start run with guidance.
        skipped: the scales that are not run, in ascending order.
        shortcuts: pairs (scale, how many layers its shortcut leaves out), in ascending order.
        likeness: the mean likeness to the dense pictures: SSIM times the root of the sharpness kept
            (``evaluation.metrics.likeness``).
        ssim: the mean SSIM to the dense pictures.
        pictures: how many pictures were measured. Missing in older files.
        half_width: the half-width of the 95 % interval of the mean likeness. Missing in older
            files.
        time: the measured time as a share of the dense run's, on the device of the calibration.
            Missing in older files.
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
    """How much pictures gain when tokens are chosen by entropy rather than at random, at the
    numbers of tokens that plans use.

    Attributes:
        rule: the cheapest rule that is as good as the best: "entropy" or "random".
        gain: the mean over pictures of the likeness with entropy less the likeness with random
            tokens.
        half_width: the half-width of the 95 % interval of the gain (paired, Student's t). None =
            fewer than two pictures.
        pictures: how many pictures were compared.
        share: the share of the last scale's tokens that were worked on.
        decided: whether the interval is narrow enough to say which rule it is. If not, plans use
            entropy.
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
        """The rule that plans use."""
        return self.rule if self.decided else "entropy"


class ScheduleEntry(Grown):
    """The measurements of a model at one pixel budget.

    Attributes:
        pn: the pixel budget, such as "0.25M".
        template: the aspect, height divided by width, at which it was measured.
        scales: measurements of every scale.
        start_scale: the first scale that is pruned by default, counted from 0. None = no scale is.
        start_reason: why it is this scale, in words.
        unconditional_off: how many scales at the end may run without guidance.
        choices: the combinations of fewer scales, fewer guided scales and shortcuts that were
            measured. A plan for a budget takes the best that the budget pays for.
        mixing_gain: how much better than half-way between two combinations a plan is in which half
            of the last scale's tokens, chosen by entropy, take the longer shortcut; as a share of
            the distance between the two.
        selection: whether it matters which tokens of the last scale are worked on. None = not
            measured.
        representative_scale: the scale whose entropy maps say which layers are Global.
        order_stability: the mean Spearman correlation between prompts of the order of the layers,
            at that scale.
        beta: the strength of the layer score; see ``entropy.statistics.layer_score``.
        ratio_scale: whether the layer score is made from the ratio of the singular values ("raw")
            or from its logarithm ("log").
        ratio_reference: with "log", the ratio of a pure Detail layer.
        class_low: up to this score a layer is Global.
        class_high: from this score on a layer is Detail.
        principal_ratios: the largest singular value of each layer's map divided by the second: the
            geometric mean over prompts, and the standard deviation of its natural logarithm.
        layer_scores: the score of each layer, from 0 (Global) to 1 (Detail).
        layer_classes: "global", "detail", or "ambiguous" where the score lies between the two
            bounds or prompts disagree.
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
