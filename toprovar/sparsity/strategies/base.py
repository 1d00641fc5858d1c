"""What an acceleration method is made of: settings, and a plan from them.

A method is one module of this package, or one folder, that names its strategies in ``STRATEGIES``.
Command line options, node inputs, comparisons and help texts are derived from what stands here; no
other file needs to know of it. A fit alone (``Fit``) stands elsewhere, as it drives the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..plan import SparsityPlan
from ..solve import CLOSE

if TYPE_CHECKING:
    from ..cost import CostModel, Target
    from ..planner import Planner

LIKE_OTHERS = "--STRATEGY-NAME"
"""Spelling of an option that names none of its own, such as ``--short-left-out``; ``--left-out``
where a strategy has the command for itself."""


@dataclass(frozen=True)
class Option:
    """How a field of a strategy's settings is shown to people: ``Annotated[float, Option(...)]``.

    Bounds are the field's own (``Field(ge=0, le=1)``), choices those of its ``Literal``.

    Attributes:
        help: what it does, for the command line.
        tooltip: the same for the node, if other words suit it better.
        flag: its spelling on the command line; None = it has none there.
        metavar: of its value there.
        unset: what the default None means there, in words.
        advanced: for experts; node: whether it is an input of the planner's node at all.
        node_unset: the value that stands for None on the node.
        node_default: the node's default, if other than the field's.
        labels: words that stand for values on the node.
        step: of the node's number.
        decided: whether a budget or speed-up decides it, so that it cannot be given as well.
    """

    help: str
    tooltip: str = ""
    flag: str | None = LIKE_OTHERS
    metavar: str | None = None
    unset: str = ""
    advanced: bool = False
    node: bool = True
    node_unset: Any = None
    node_default: Any = None
    labels: Mapping[Any, str] = field(default_factory=dict)
    step: float | None = None
    decided: bool = False


@dataclass(frozen=True)
class Shorthand:
    """A command line option that settings take beside their fields.

    Attributes:
        low, high: bounds of the whole number that it takes.
        decided: see ``Option``.
    """

    name: str
    flag: str
    help: str
    low: int
    high: int
    decided: bool = True


@dataclass(frozen=True)
class Resource:
    """A file that a strategy can plan by, and that the box or a folder may hold already.

    Attributes:
        name: under which ``PlanContext.given`` has it; flag, help: on the command line.
        load: path -> what it holds; a ValueError names the file and what is wrong.
        adopt: (path, what it holds, layers, fingerprint of the model) -> notes, once the model is
            there; None = nothing to do. A ValueError says why it does not fit.
        decided: see ``Option``.
    """

    name: str
    flag: str
    help: str
    load: Callable[[str], Any]
    adopt: Callable[[str, Any, int, str], tuple[str, ...]] | None = None
    decided: bool = False


@dataclass(frozen=True)
class Recordings:
    """How runs that were recorded with a method's official code are run again, to be compared.

    Attributes:
        plan: (run.json, shape, schedule, () -> autoencoder) -> what the run left out.
        known: (run.json, names of its goldens) -> whether a run that does not name its method was
            recorded with this one; None = such runs always name it.
        values: the plan as it was at the end -> numbers that were recorded of the method itself,
            by the golden's name.
        bits_from: the run whose bits these share before their own begin; None = they have all.
        weights_from: the family whose weights those runs have that lie, without any of their own,
            in a folder of the strategy's name; None = there is none.
    """

    plan: Callable[[Mapping[str, Any], TransformerConfig, ScaleSchedule, Callable[[], Any]],
                   Planner]
    known: Callable[[Mapping[str, Any], Collection[str]], bool] | None = None
    values: Callable[[SparsityPlan], Mapping[str, Sequence[float]]] | None = None
    bits_from: str | None = None
    weights_from: str | None = None


class Settings(BaseModel):
    """Of a strategy that has none; the base of all others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Fit:
    """A JSON file by which a strategy decides, fitted to a model's own pictures: what
    ``toprovar fit-NAME`` writes.

    Attributes:
        summary: of the command.
        result: the file, in messages, such as "decision models".
        known: (an object out of JSON) -> whether it is such a file, which may be written anew.
        settings: further options of the command, as fields with an ``Option`` each.
        bundled: prompts that ``--bundled`` alone stands for.
        module: where it is fitted, which may import what stands above strategies: a module with
            the functions of ``analysis.fits.Fitting``; "" = that of the strategy's name there.
    """

    summary: str
    result: str
    known: Callable[[Mapping[str, Any]], bool]
    settings: type[Settings] = Settings
    bundled: int = 60
    module: str = ""


@dataclass(frozen=True)
class PlanContext:
    """What a plan is asked for.

    Attributes:
        shape: of the model; schedule: of the size; guided: whether guidance is used.
        target: what the run is to come down to, None = what the settings say.
        cost_model: seconds on the device, for the report; None = FLOPs only.
        given: resources by name, those that were given.
        fingerprint: () -> that of the weights, "" if not known.
        vae: the autoencoder, for strategies that look at pictures inside the run.
        kept: for what must outlive the call, such as a planner that remembers its plans.
    """

    shape: TransformerConfig
    schedule: ScaleSchedule
    guided: bool = True
    target: Target | None = None
    cost_model: CostModel | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Callable[[], str] = lambda: ""
    vae: Any = None
    kept: MutableMapping[Any, Any] = field(default_factory=dict)

    def cost(self, plan: SparsityPlan) -> float:
        """What ``plan`` comes to, as the share that the target is of."""
        if self.target is None:
            raise ValueError("there is no target to hold a plan against")
        return self.target.cost(plan, self.shape, self.guided)

    def dearest(self, plans: Sequence[SparsityPlan]) -> SparsityPlan:
        """Of several plans the dearest that meets the target; if none does, the cheapest. Without
        a target the first."""
        if self.target is None:
            return plans[0]
        costs = [self.cost(plan) for plan in plans]
        fitting = [i for i, cost in enumerate(costs) if cost <= self.target.share]
        if not fitting:
            return plans[costs.index(min(costs))]
        return plans[max(fitting, key=lambda i: costs[i])]

    def priced(self, plan: SparsityPlan) -> SparsityPlan:
        """``plan`` with its predicted cost."""
        from ..cost import predict

        return predict(plan, self.shape, self.cost_model, self.guided)

    def finished(self, plan: SparsityPlan, why_below: str = "its plans come in steps"
                 ) -> SparsityPlan:
        """The same with a note where it does not come near the target.

        Args:
            why_below: why it may lie far below.
        """
        if self.target is None:
            return self.priced(plan)
        cost, asked = self.cost(plan), self.target.share
        if asked - CLOSE <= cost <= asked:
            return self.priced(plan)
        of = "a dense run's FLOPs" if self.target.model is None else "a dense run's predicted time"
        note = f"comes to {cost:.1%} of {of}, "
        if cost > asked:
            note += f"the target of {asked:.1%} is out of this strategy's reach"
        else:
            note += f"{100 * (asked - cost):.0f} points below the target: {why_below}"
        return self.priced(plan.model_copy(update={"notes": (*plan.notes, note)}))


S = TypeVar("S", bound=Settings)


class Strategy(Generic[S]):
    """A way to plan runs. Subclasses say what it is called and implement ``plan``.

    Attributes:
        name: in plans, options and graphs: lower-case letters and digits.
        summary: one sentence for lists.
        settings: their class; every field carries an ``Option``.
        resources, shorthands: further options.
        fit: what it decides by, where that is fitted to a model.
        recordings: how recorded runs of its official code are run again; None = there are none.
        rank: place in lists; since: release of the planner's node in which its inputs came, which
            stand behind those of earlier ones, so that saved graphs keep their values. Without
            one they stand last.
        targets: whether a budget or speed-up can be asked of it.
        choice: whether it chooses between running dense and another strategy, so that it is no
            row of a comparison; default: what a budget alone means.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[type[Settings]] = Settings
    resources: ClassVar[tuple[Resource, ...]] = ()
    shorthands: ClassVar[tuple[Shorthand, ...]] = ()
    fit: ClassVar[Fit | None] = None
    recordings: ClassVar[Recordings | None] = None
    rank: ClassVar[int] = 100
    since: ClassVar[int] = 1000
    targets: ClassVar[bool] = True
    choice: ClassVar[bool] = False
    default: ClassVar[bool] = False

    def plan(self, settings: S, context: PlanContext) -> Planner:
        """A plan, or a planner that decides inside the run.

        Raises:
            ValueError: the settings do not go with the context.
        """
        raise NotImplementedError

    def check(self, settings: S, given: Mapping[str, str], target: bool) -> None:
        """Refuse, with a ValueError, what can be refused before a model is there.

        Args:
            given: files of resources by name; target: whether there is a budget or speed-up.
        """

    def for_file(self, settings: S, target: bool) -> S:
        """The settings by which a plan is made before the run, as a file needs it.

        Raises:
            ValueError: these decide inside the run.
        """
        return settings

    def wants_trace(self, settings: S) -> bool:
        """Whether an entropy trace, as a calibration, would decide something."""
        return False
