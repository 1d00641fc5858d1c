"""ToProVAR: a fast, exact inference engine for Infinity (next-scale) text-to-image models.

Importing the package is cheap: the names below load what they need when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "InfinityPipeline": ".pipeline",
    "InfinityPipelineOutput": ".pipeline",
    "InfinityTransformer": ".models.transformer",
    "InfinityAutoencoder": ".models.autoencoder",
    "SamplingParams": ".sampling.params",
    "EngineOptions": ".sampling.params",
    "SamplingRun": ".sampling.run",
    "bundled_model": ".bundled",
    "get_schedule": ".schedules",
    "schedule_for_size": ".schedules",
}

__all__ = [
    "EngineOptions",
    "InfinityAutoencoder",
    "InfinityPipeline",
    "InfinityPipelineOutput",
    "InfinityTransformer",
    "SamplingParams",
    "SamplingRun",
    "__version__",
    "bundled_model",
    "get_schedule",
    "schedule_for_size",
]

if TYPE_CHECKING:
    from .bundled import bundled_model as bundled_model
    from .models.autoencoder import InfinityAutoencoder as InfinityAutoencoder
    from .models.transformer import InfinityTransformer as InfinityTransformer
    from .pipeline import InfinityPipeline as InfinityPipeline
    from .pipeline import InfinityPipelineOutput as InfinityPipelineOutput
    from .sampling.params import EngineOptions as EngineOptions
    from .sampling.params import SamplingParams as SamplingParams
    from .sampling.run import SamplingRun as SamplingRun
    from .schedules import get_schedule as get_schedule
    from .schedules import schedule_for_size as schedule_for_size


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
