"""Runs that measure: analyse prompts, calibrate a model. They drive the pipeline."""

from .calibrate import calibrate, runs_needed
from .measure import Analysis, analyze

__all__ = ["Analysis", "analyze", "calibrate", "runs_needed"]
