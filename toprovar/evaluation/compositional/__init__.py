"""Scores pictures on GenEval's six tasks with a small detector of its own.

It knows the objects and colours that the bundled model was taught, no others; what they are, and
every threshold, is stored with its weights.
"""

from toprovar.evaluation.compositional.decode import Detection, Thresholds
from toprovar.evaluation.compositional.judge import Judge
from toprovar.evaluation.compositional.prompts import (
    RELATIONS,
    TASKS,
    ObjectSpec,
    PromptSpec,
    bundled_prompts,
    read_prompts,
    write_prompts,
)
from toprovar.evaluation.compositional.report import Report, Result, Share, summarise
from toprovar.evaluation.compositional.tasks import Verdict, decide

__all__ = [
    "RELATIONS",
    "TASKS",
    "Detection",
    "Judge",
    "ObjectSpec",
    "PromptSpec",
    "Report",
    "Result",
    "Share",
    "Thresholds",
    "Verdict",
    "bundled_prompts",
    "decide",
    "read_prompts",
    "summarise",
    "write_prompts",
]
