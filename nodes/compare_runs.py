"""Compare Runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .support.host import from_pil, io, ui
from .support.schema import Report, advanced, schema

if TYPE_CHECKING:
    from torch import Tensor

    from .support.runs import Report as RunsReport

RUNS = 4
"""Runs besides the reference."""


class CompareRuns(io.ComfyNode):
    """How far pictures are from a reference, and what they cost."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        first = [
            io.Image.Input("reference", tooltip="What the others are held against: usually a "
                                                "dense run."),
            Report.Input("reference_report", tooltip="From the same sampler as the reference."),
        ]
        others = [
            socket for n in range(1, RUNS + 1) for socket in (
                io.Image.Input(f"image_{n}", optional=n > 1, tooltip=f"Pictures of run {n}."),
                Report.Input(f"report_{n}", optional=n > 1,
                             tooltip=f"From the same sampler as image_{n}."),
            )
        ]
        return schema(
            "ToProVAR_CompareRuns", "Compare Runs",
            description="Pictures side by side with their differences, and figures: SSIM, PSNR, "
                        "equal bits, time, speed-up, work. Times include what a first run sets "
                        "up; queue twice (with another seed) for a fair one.",
            search_aliases=["SSIM", "PSNR", "difference", "benchmark", "side by side",
                            "toprovar"],
            inputs=[
                *first, *others,
                advanced(io.Int.Input("side", default=320, min=64, max=1024, step=16,
                                      tooltip="Longer side of a picture on the sheet, in "
                                              "pixels.")),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All pictures with their figures."),
                io.Image.Output(display_name="differences",
                                tooltip="Where run 1, 2 ... differ from the reference."),
                io.String.Output(display_name="table", tooltip="The figures as text."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, reference: Tensor, reference_report: RunsReport, side: int,
                **runs: Any) -> io.NodeOutput:
        import torch

        from .support.comparing import compare_runs

        images, reports = [reference], [reference_report]
        for n in range(1, RUNS + 1):
            image, report = runs.get(f"image_{n}"), runs.get(f"report_{n}")
            if image is None and report is None:
                continue
            if image is None or report is None:
                missing = f"image_{n}" if image is None else f"report_{n}"
                raise ValueError(f"{missing} is not connected: a run needs its image and its "
                                 "report, both from the same sampler")
            images.append(image)
            reports.append(report)
        found = compare_runs(images, reports)
        sheet = from_pil(found.sheet(side))
        differences = torch.cat([from_pil(one) for one in found.differences()])
        return io.NodeOutput(sheet, differences, found.table(), ui={
            **ui.PreviewImage(sheet, cls=cls).as_dict(),
            "toprovar_comparison": [found.to_json()], "text": [found.table()],
        })
