"""What the pack uses of ComfyUI's helpers."""

from PIL import Image

class ProgressBar:
    def __init__(self, total: int) -> None: ...
    def update_absolute(self, value: int, total: int | None = ...,
                        preview: tuple[str, Image.Image, int] | None = ...) -> None: ...
