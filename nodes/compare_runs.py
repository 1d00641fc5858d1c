"""Compare Runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .support.dynamic import DYNAMIC, growing, plain_values, with_layout
from .support.host import from_pil, io, ui
from .support.schema import Report, advanced, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from torch import Tensor

    from .support.runs import Report as RunsReport

RUNS = 4
"""Runs besides the reference, where inputs cannot grow."""
IS_RUN = re.compile(r"(image|report)_[1-9]\d*")
OTHERS = "The report of another sampler, which is compared with the reference."


class CompareRuns(io.ComfyNode):
    """How far pictures are from a reference, and what they cost."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_CompareRuns", "Compare Runs",
            description="Shows pictures side by side, with their differences and figures: SSIM, "
                        "PSNR, equal bits, time, speed-up and work. The first run after loading "
                        "also includes setup time. For a fair time, queue once more with another "
                        "seed.",
            accept_all_inputs=True,
            search_aliases=["SSIM", "PSNR", "difference", "benchmark", "side by side",
                            "toprovar"],
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All pictures with their figures."),
                io.Image.Output(display_name="differences",
                                tooltip="Where runs 1, 2 ... differ from the reference."),
                io.String.Output(display_name="table", tooltip="The figures as text."),
            ],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(cls, reference_report: RunsReport, side: int, reference: Tensor | None = None,
                **runs: Any) -> io.NodeOutput:
        import torch

        from .support.comparing import compare_runs, pictures_of

        images, reports = [pictures_of("reference", reference, reference_report)], [
            reference_report]
        given = plain_values(runs)
        for n in sorted({int(name.rpartition("_")[2]) for name in given if IS_RUN.fullmatch(name)}):
            report = given.get(f"report_{n}")
            if report is None:
                raise ValueError(f"image_{n} is connected without report_{n}: connect the report "
                                 f"of the sampler that drew image_{n}")
            images.append(pictures_of(f"image_{n}", given.get(f"image_{n}"), report))
            reports.append(report)
        if len(reports) == 1:
            raise ValueError("there is nothing to compare: connect a report beside the reference")
        found = compare_runs(images, reports)
        sheet = from_pil(found.sheet(side))
        differences = torch.cat([from_pil(one) for one in found.differences()])
        return io.NodeOutput(sheet, differences, found.table(), ui={
            **ui.PreviewImage(sheet, cls=cls).as_dict(),
            "toprovar_comparison": [found.to_json()], "text": [found.table()],
        })


def _inputs() -> list[io.Input]:
    reference = io.Image.Input("reference", optional=True,
                               tooltip="Pictures that replace those of reference_report.")
    report = Report.Input("reference_report", tooltip="The report of the run that the others are "
                                                      "compared with, usually a dense run.")
    side = advanced(io.Int.Input("side", default=320, min=64, max=1024, step=16,
                                 tooltip="Longer side of each picture on the sheet, in pixels."))
    reports = [Report.Input(f"report_{n}", optional=n > 1, tooltip=OTHERS)
               for n in range(1, RUNS + 1)]
    report = with_layout(report, [side], [side], {"reports": {"": reports}},
                         {f"image_{n}": one.id for n, one in enumerate(reports, 1)})
    if DYNAMIC:
        return [report, growing("reports", Report.Input("report", optional=True, tooltip=OTHERS),
                                "report", OTHERS), side, reference]
    others = [
        socket for n, other in enumerate(reports, 1) for socket in (
            io.Image.Input(f"image_{n}", optional=True,
                           tooltip=f"Pictures that replace those of report_{n}."), other)
    ]
    return [reference, report, *others, side]
