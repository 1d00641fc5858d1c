"""Pictures as files, with the parameters that made them: PNG, JPEG and WebP."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .files import replace_file
from .reading import parse_json, reading

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
COMMENT = 0x9286
"""EXIF's UserComment, in the sub-directory ``EXIF``."""
EXIF = 0x8769
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
"""What a UserComment begins with."""
MOST_EXIF = 65_000
"""Bytes of the parameters in a JPEG, whose one segment for EXIF holds 65,533 in all."""
LEFT_OUT = "left_out"
"""Among the parameters: the names of those that did not fit."""
MOST_TEXT = 4 << 20


def check_ending(flag: str, path: Path) -> None:
    """A ValueError where ``path`` does not end as a picture."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{flag} must end in {', '.join(ENDINGS)}, got {str(path)!r}")


def numbered(path: Path, count: int) -> list[Path]:
    """``path`` alone, or with -1, -2 ... before its ending."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(count)]


def save_picture(image: Image.Image, path: Path, parameters: dict[str, Any], quality: int = 95,
                 graph: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Write a picture with its parameters, by the ending of ``path``; see ``encode_picture``. The
    file is whole or absent.

    Returns:
        Names of the parameters that were left out.
    """
    content, left = encode_picture(image, ENDINGS[path.suffix.lower()], parameters, quality, graph)
    replace_file(path, content)
    return left


def encode_picture(image: Image.Image, kind: str, parameters: dict[str, Any], quality: int = 95,
                   graph: dict[str, Any] | None = None, chunks: dict[str, str] | None = None,
                   ) -> tuple[bytes, tuple[str, ...]]:
    """A picture's file with its parameters as JSON: in PNG as a text chunk named "toprovar", in
    JPEG and WebP as EXIF's UserComment.

    Args:
        kind: "PNG", "JPEG" or "WEBP".
        quality: of JPEG and WebP, 1 to 100; WebP of 100 is lossless.
        graph: nodes of ComfyUI that draw it, which a PNG holds where ComfyUI looks for them.
        chunks: further texts of a PNG, by name.

    Returns:
        the file's bytes, and names of the parameters that the file cannot hold and that were left
        out, which only JPEG needs; the file names them too, as "left_out".
    """
    buffer = io.BytesIO()
    left: tuple[str, ...] = ()
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("toprovar", json.dumps(parameters, ensure_ascii=False))
        if graph is not None:
            info.add_text("prompt", json.dumps(graph))
        for name, text in (chunks or {}).items():
            info.add_text(name, text)
        image.save(buffer, "PNG", pnginfo=info)
    else:
        if kind == "JPEG":
            parameters, left = _fitting(parameters, MOST_EXIF)
        exif = image.getexif()
        exif.get_ifd(EXIF)[COMMENT] = ASCII + json.dumps(parameters).encode("ascii")
        more = {"lossless": quality == 100} if kind == "WEBP" else {"subsampling": 0}
        image.convert("RGB").save(buffer, kind, quality=quality, exif=exif, **more)
    return buffer.getvalue(), left


def left_out_note(names: Iterable[str]) -> str:
    """For the reader: what pictures do not say of themselves, and what to do about it."""
    words = ", ".join(name.replace("_", " ") for name in names)
    return f"too long for the parameters in a JPEG, left out there: {words}; PNG holds everything"


def _fitting(parameters: dict[str, Any], most: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters that are at most ``most`` bytes as JSON in ASCII, and the names of the others.

    The plan goes first, as the picture can be asked for again without it; then the longest.
    """
    kept, left = dict(parameters), list[str]()
    while len(json.dumps(kept)) > most:
        own = [name for name in kept if name != LEFT_OUT]
        left.append("sparsity_plan" if "sparsity_plan" in own
                    else max(own, key=lambda name: len(json.dumps(kept[name]))))
        del kept[left[-1]]
        kept[LEFT_OUT] = left
    return kept, tuple(left)


def read_parameters(path: str | Path) -> dict[str, Any]:
    """The parameters in a picture of ``InfinityPipelineOutput.save``, of the command line, or of a
    batch.

    Args:
        path: a PNG, JPEG or WebP file.

    Raises:
        ValueError: it is no such file, or holds no parameters.
    """
    remedy = "give a picture of 'toprovar generate'"
    with reading(path, "picture with parameters", remedy):
        text = picture_text(Path(path))
        if text is None:
            raise ValueError("it is not by 'toprovar generate', or what it held was taken out")
        if len(text) > MOST_TEXT:
            raise ValueError(f"its text is longer than {MOST_TEXT} characters, which none is")
        found = parse_json(text)
        if not isinstance(found, dict):
            raise ValueError("its text is no JSON object")
        return found


def picture_text(path: Path | BinaryIO) -> str | None:
    """The text that ``save_picture`` wrote, None if there is none. The picture is not decoded.

    Raises:
        ValueError: it is no picture, or a damaged one.
    """
    from struct import error as struct_error
    from zlib import error as zlib_error

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
                text = image.info.get("toprovar")
                if text is None:
                    comment = image.getexif().get_ifd(EXIF).get(COMMENT)
                    if isinstance(comment, bytes) and comment.startswith(ASCII):
                        text = comment.removeprefix(ASCII).decode("ascii")
    except UnidentifiedImageError:
        raise ValueError("not a PNG, JPEG or WebP file") from None
    except (Image.DecompressionBombError, SyntaxError, EOFError, UnicodeDecodeError, struct_error,
            zlib_error) as error:
        raise ValueError(f"a damaged picture ({error})") from None
    return text if isinstance(text, str) else None
