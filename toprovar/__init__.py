"""ToProVAR: a fast, exact inference engine for Infinity (next-scale) text-to-image models."""

from __future__ import annotations

__version__ = "0.1.0"
