"""Attention entropy: what was measured, what follows from it, and pictures of it."""
