"""Weights and their arithmetic: transformer, autoencoder, text encoder; shapes as data."""
