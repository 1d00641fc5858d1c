"""What is truly on a composed picture, as the judge would report it, and how near it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toprovar.evaluation.compositional.decode import Detection, shared
from training.data.catalog import load_classes
from training.data.colours import COLOUR_NAMES
from training.judge.labels import PRESENT, Labels

_SAME_PLACE = 0.5
CLASS_NAMES: tuple[str, ...] = tuple(entry.name for entry in load_classes())


@dataclass(frozen=True)
class Truth:
    """One object as drawn; ``wrong`` are the colours it certainly has not."""

    seen: Detection
    wrong: frozenset[str | None]


def truths_of(labels: Labels) -> list[list[Truth]]:
    """The objects of every picture."""
    low, high = labels.centre - labels.size / 2, labels.centre + labels.size / 2
    columns = (
        labels.cls, labels.state, low.clamp(0, 1), high.clamp(0, 1), labels.colour, labels.known
    )
    out = []
    for picture in zip(*(c.tolist() for c in columns), strict=True):
        rows = zip(*picture, strict=True)
        out.append([
            _truth(cls, (a[0], a[1], b[0], b[1]), colour, known)
            for cls, state, a, b, colour, known in rows if state == PRESENT
        ])
    return out


def _truth(
    cls: int, box: tuple[float, float, float, float], colour: list[float], known: list[float]
) -> Truth:
    name = next((n for n, c in zip(COLOUR_NAMES, colour, strict=True) if c > 0), None)
    certain = {n for n, k in zip(COLOUR_NAMES, known, strict=True) if k > 0}
    # Where every colour is known and one is true, "no colour" is wrong as well.
    wrong = {*(certain - {name}), *([None] if name is not None else [])}
    return Truth(Detection(CLASS_NAMES[cls], name, 1.0, box), frozenset(wrong))


@dataclass
class Tally:
    """Right and wrong detections, by class."""

    right: dict[str, int] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    coloured: int = 0
    miscoloured: int = 0

    def add(self, found: Sequence[Detection], truths: Sequence[Truth]) -> None:
        """One picture: every detection takes the object of its class that it covers best."""
        left = list(truths)
        for detection in found:
            places = [
                (shared(detection.box, truth.seen.box), index)
                for index, truth in enumerate(left) if truth.seen.cls == detection.cls
            ]
            best, index = max(places, default=(0.0, -1))
            if best < _SAME_PLACE:
                _count(self.false, detection.cls)
                continue
            truth = left.pop(index)
            _count(self.right, detection.cls)
            self.coloured += 1
            self.miscoloured += detection.colour in truth.wrong
        for truth in left:
            _count(self.missed, truth.seen.cls)

    @property
    def precision(self) -> float:
        return _share(sum(self.right.values()), sum(self.false.values()))

    @property
    def recall(self) -> float:
        return _share(sum(self.right.values()), sum(self.missed.values()))

    @property
    def f1(self) -> float:
        return _harmonic(self.precision, self.recall)

    @property
    def colour_accuracy(self) -> float:
        return _share(self.coloured - self.miscoloured, self.miscoloured)

    def by_class(self) -> dict[str, dict[str, float]]:
        """Precision and recall of each class that occurred."""
        names = [n for n in CLASS_NAMES if n in {*self.right, *self.false, *self.missed}]
        return {
            name: {
                "precision": round(_share(self.right.get(name, 0), self.false.get(name, 0)), 4),
                "recall": round(_share(self.right.get(name, 0), self.missed.get(name, 0)), 4),
                "objects": self.right.get(name, 0) + self.missed.get(name, 0),
            }
            for name in names
        }

    def summary(self) -> dict[str, float]:
        values = {
            "precision": self.precision, "recall": self.recall, "f1": self.f1,
            "colour_accuracy": self.colour_accuracy,
        }
        return {name: round(value, 4) for name, value in values.items()}


def tally(found: Sequence[Sequence[Detection]], truths: Sequence[Sequence[Truth]]) -> Tally:
    """All pictures."""
    out = Tally()
    for mine, there in zip(found, truths, strict=True):
        out.add(mine, there)
    return out


def _count(table: dict[str, int], name: str) -> None:
    table[name] = table.get(name, 0) + 1


def _share(right: int, wrong: int) -> float:
    return right / (right + wrong) if right + wrong else 0.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
