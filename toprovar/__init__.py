"""ToProVAR: a fast, exact inference engine for Infinity (next-scale) text-to-image models.

Importing the package is cheap: the names below load what they need when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "calibrate": ".analysis.calibrate",
    "analyze": ".analysis.measure",
    "bundled_model": ".bundled",
    "Draft": ".editing.draft",
    "load_draft": ".editing.draft_file",
    "save_draft": ".editing.draft_file",
    "Region": ".editing.edit",
    "Calibration": ".entropy.calibration",
    "entropy_maps": ".entropy.pictures",
    "EntropyTrace": ".entropy.trace",
    "TraceRecorder": ".entropy.trace",
    "picture_grid": ".evaluation.grid",
    "ssim": ".evaluation.metrics",
    "InfinityAutoencoder": ".models.autoencoder",
    "InfinityTransformer": ".models.transformer",
    "read_parameters": ".picture_files",
    "InfinityPipeline": ".pipeline",
    "InfinityPipelineOutput": ".pipeline",
    "load_pipeline": ".pipeline_loading",
    "make_plan": ".planning",
    "parse_weights": ".prompt_weights",
    "EngineOptions": ".sampling.params",
    "SamplingParams": ".sampling.params",
    "SamplingRun": ".sampling.run",
    "get_schedule": ".schedules",
    "schedule_for_size": ".schedules",
    "SparsityPlan": ".sparsity.plan",
    "dense_plan": ".sparsity.plan",
    "load_plan": ".sparsity.plan_file",
    "save_plan": ".sparsity.plan_file",
    "plan_picture": ".sparsity.plan_picture",
    "ScalePlan": ".sparsity.scale_plan",
}

__all__ = [
    "Calibration",
    "Draft",
    "EngineOptions",
    "EntropyTrace",
    "InfinityAutoencoder",
    "InfinityPipeline",
    "InfinityPipelineOutput",
    "InfinityTransformer",
    "Region",
    "SamplingParams",
    "SamplingRun",
    "ScalePlan",
    "SparsityPlan",
    "TraceRecorder",
    "__version__",
    "analyze",
    "bundled_model",
    "calibrate",
    "dense_plan",
    "entropy_maps",
    "get_schedule",
    "load_draft",
    "load_pipeline",
    "load_plan",
    "make_plan",
    "parse_weights",
    "picture_grid",
    "plan_picture",
    "read_parameters",
    "save_draft",
    "save_plan",
    "schedule_for_size",
    "ssim",
]

if TYPE_CHECKING:
    from .analysis.calibrate import calibrate as calibrate
    from .analysis.measure import analyze as analyze
    from .bundled import bundled_model as bundled_model
    from .editing.draft import Draft as Draft
    from .editing.draft_file import load_draft as load_draft
    from .editing.draft_file import save_draft as save_draft
    from .editing.edit import Region as Region
    from .entropy.calibration import Calibration as Calibration
    from .entropy.pictures import entropy_maps as entropy_maps
    from .entropy.trace import EntropyTrace as EntropyTrace
    from .entropy.trace import TraceRecorder as TraceRecorder
    from .evaluation.grid import picture_grid as picture_grid
    from .evaluation.metrics import ssim as ssim
    from .models.autoencoder import InfinityAutoencoder as InfinityAutoencoder
    from .models.transformer import InfinityTransformer as InfinityTransformer
    from .picture_files import read_parameters as read_parameters
    from .pipeline import InfinityPipeline as InfinityPipeline
    from .pipeline import InfinityPipelineOutput as InfinityPipelineOutput
    from .pipeline_loading import load_pipeline as load_pipeline
    from .planning import make_plan as make_plan
    from .prompt_weights import parse_weights as parse_weights
    from .sampling.params import EngineOptions as EngineOptions
    from .sampling.params import SamplingParams as SamplingParams
    from .sampling.run import SamplingRun as SamplingRun
    from .schedules import get_schedule as get_schedule
    from .schedules import schedule_for_size as schedule_for_size
    from .sparsity.plan import SparsityPlan as SparsityPlan
    from .sparsity.plan import dense_plan as dense_plan
    from .sparsity.plan_file import load_plan as load_plan
    from .sparsity.plan_file import save_plan as save_plan
    from .sparsity.plan_picture import plan_picture as plan_picture
    from .sparsity.scale_plan import ScalePlan as ScalePlan


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
