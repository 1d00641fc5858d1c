"""Pictures and reports held against the first of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .host import to_pil

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.evaluation.compare import Compared, Taken
    from .runs import Report

SENT = ("name", "notes", "seconds", "speedup", "flop_share", "ssim", "psnr", "latent_distance",
        "equal_bits")
"""Figures that the node's widget shows."""


@dataclass(frozen=True)
class Comparison:
    """Attributes:
        pictures: for each picture of the batch, the runs held against the first.
        title: the first picture's prompt.
    """

    pictures: tuple[tuple[Compared, ...], ...]
    title: str

    def sheet(self, side: int) -> Image.Image:
        """The first picture's contact sheet."""
        from ...toprovar.evaluation.compare import contact_sheet

        more = "" if len(self.pictures) == 1 else f"; first of {len(self.pictures)} pictures"
        how = "times are of the scale loop, one run each" + more
        return contact_sheet(self.pictures[0], self.title, how, side)

    def differences(self) -> list[Image.Image]:
        """Of the first picture, one map for each run but the first."""
        from ...toprovar.evaluation.compare import heat

        return [heat(one.difference) for one in self.pictures[0][1:]]

    @property
    def means(self) -> list[Compared]:
        """Each run's figures, as means over the batch."""
        from ...toprovar.evaluation.compare import averaged

        return [averaged(each) for each in zip(*self.pictures, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Means over the batch, one entry for each run."""
        runs = [mean.to_json() for mean in self.means]
        return {"prompt": self.title, "pictures": len(self.pictures),
                "runs": [{name: run[name] for name in SENT} for run in runs]}

    def table(self) -> str:
        """The same in words."""
        from ...toprovar.sparsity.plan_table import percent, table

        rows = []
        for run in self.to_json()["runs"]:
            psnr = "equal" if run["psnr"] is None else f"{run['psnr']:.1f} dB"
            rows.append((run["name"], f"{run['seconds']:.3f} s", f"{run['speedup']:.2f} x",
                         percent(run["flop_share"]), f"{run['ssim']:.3f}", psnr,
                         f"{run['equal_bits']:.1%}"))
        head = ("run", "time", "speed-up", "FLOPs", "SSIM", "PSNR", "equal bits")
        return "\n".join(table(head, rows, left=(0,)))


def pictures_of(name: str, image: Tensor | None, report: Report) -> Tensor:
    """IMAGE of a run: what is connected, else what its report brings.

    Args:
        name: of the input that takes pictures.
    """
    found = report.pictures if image is None else image
    if found is None:
        raise ValueError(f"{name} is not connected, and its report brings no pictures: connect "
                         "both from the same sampler")
    return found


def compare_runs(images: list[Tensor], reports: list[Report]) -> Comparison:
    """Hold each run's pictures against the first run's.

    Args:
        images: IMAGE [B, H, W, 3] of each run; reports: theirs.

    Raises:
        ValueError: runs that cannot be compared, with the reason.
    """
    from ...toprovar.evaluation.compare import Taken, compare

    first = reports[0]
    for number, (image, report) in enumerate(zip(images, reports, strict=True)):
        where = "the reference" if number == 0 else f"run {number}"
        if image.shape != images[0].shape:
            raise ValueError(f"{where} has pictures of {_size(image)}, the reference of "
                             f"{_size(images[0])}: draw both with the same size and number")
        if len(report.bits) != image.shape[0]:
            raise ValueError(f"{where}: {image.shape[0]} pictures, but its report describes "
                             f"{len(report.bits)}: connect both from the same sampler")
        if report.schedule != first.schedule:
            raise ValueError(f"{where} was drawn at another size than the reference: draw both "
                             "with the same")
    names = _names(reports)

    def taken(number: int, picture: int) -> Taken:
        report = reports[number]
        run = report.run_of(picture)
        return Taken(
            names[number], to_pil(images[number][picture]), report.bits[picture],
            report.latents[picture : picture + 1], report.seconds(picture),
            flop_share=report.flop_shares[run], notes=tuple(report.runs[run].notes),
        )

    return Comparison(
        tuple(
            tuple(compare([taken(n, picture) for n in range(len(reports))]))
            for picture in range(images[0].shape[0])
        ),
        first.prompts[0],
    )


def _names(reports: list[Report]) -> list[str]:
    """Strategies, numbered where one comes twice."""
    plans = [report.runs[0].plan for report in reports]
    return [
        name if plans.count(name) == 1 else f"{name} {plans[: i + 1].count(name)}"
        for i, name in enumerate(plans)
    ]


def _size(image: Tensor) -> str:
    return f"{image.shape[0]} x {image.shape[2]} x {image.shape[1]}"
