"""Trains the tiny models that ship with the node pack; nothing at inference time needs this."""
