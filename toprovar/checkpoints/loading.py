"""One model is loaded at a time."""

from __future__ import annotations

import threading

LOADING = threading.RLock()
"""Held while torch, transformers or diffusers load: they change settings of the whole process
meanwhile (default dtypes, initialisers, what the safe loader may build)."""
