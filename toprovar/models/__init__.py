"""Weights and their arithmetic: transformer, autoencoder, text encoder, and their shapes as data."""
