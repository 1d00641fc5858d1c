"""Synthetic scenes, captions and their small tokenizer for training the tiny model."""
