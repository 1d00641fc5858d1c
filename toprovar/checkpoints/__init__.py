"""Checkpoints: opened in any layout, recognised by content, loaded, converted.

``load``      checkpoint -> model
``convert``   official checkpoints <-> diffusers folder
``inspect``   what a file is, without reading its tensors
"""

from .convert import convert
from .errors import CheckpointError
from .inspect import Checkpoint, inspect_checkpoint
from .load import load_autoencoder, load_transformer
from .recognise import match_autoencoder

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "convert",
    "inspect_checkpoint",
    "load_autoencoder",
    "load_transformer",
    "match_autoencoder",
]
