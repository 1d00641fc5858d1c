"""What the pack uses of the library below ComfyUI's server."""
