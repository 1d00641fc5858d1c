"""The art as vectors, drawn at any size.

Microsoft publishes most of the pictures as SVG too, nearly line for line what the renderings show.
Renderings end at 256 pixels a side; an object on a picture of 1024 pixels takes up to 900.
"""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

RENDERER = "resvg_py==0.5.0"
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="0 0 {width} {height}">{body}</svg>'
)


@cache
def _icons(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def draw(icons: Path, name: str, side: int) -> Image.Image:
    """One picture of ``icons.json``, RGBA with straight alpha.

    Args:
        icons: the file, as ``training.data.fetch`` leaves it.
        name: the picture's name in it.
        side: pixels along its height.

    Raises:
        RuntimeError: the renderer is not installed.
        KeyError: no picture has this name.
    """
    try:
        import resvg_py  # type: ignore[import-not-found]  # not needed but for training data
    except ImportError as error:
        raise RuntimeError(
            f"drawing vectors needs {RENDERER}: install it with `pip install {RENDERER}`, or build "
            "the atlas from the renderings with --art renderings"
        ) from error
    listed = _icons(icons)
    if name not in listed["icons"]:
        raise KeyError(f"{icons} has no picture called {name!r}")
    picture = listed["icons"][name]
    width = picture.get("width", listed.get("width", 16))
    height = picture.get("height", listed.get("height", 16))
    svg = _SVG.format(width=width, height=height, body=picture["body"])
    data = resvg_py.svg_to_bytes(
        svg_string=svg, width=round(side * width / height), height=side, skip_system_fonts=True
    )
    with Image.open(io.BytesIO(bytes(data))) as image:
        return image.convert("RGBA")
