"""Seeded damage to files: to bytes as disks and downloads do it, to JSON as people and programs."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

NUMBERS = (0, 1, 7, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
DEEP = 100_000
"""Brackets: more than any parser's stack that counts them on the C or the Python side."""


def damage_bytes(content: bytes, rng: Random) -> bytes:
    """One kind of damage to a file's bytes, or two."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        content = rng.choice(BYTE_DAMAGE)(content, rng)
    return content


def _place(content: bytes, rng: Random) -> int:
    """Somewhere, heads of files more often than their bulk."""
    limit = len(content) if rng.random() < 0.5 else min(len(content), 512)
    return rng.randrange(limit) if limit else 0


def flip_bits(content: bytes, rng: Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 64)) if found else 0):
        found[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(found)


def truncate(content: bytes, rng: Random) -> bytes:
    return content[: rng.choice((0, 1, 8, _place(content, rng), max(0, len(content) - 1)))]


def insert(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 8, 1024))) + content[at:]


def delete(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 8, 1024)):]


def zero_hole(content: bytes, rng: Random) -> bytes:
    """A part of the file that a download never wrote."""
    at = _place(content, rng)
    size = min(rng.choice((1, 16, 4096, len(content))), len(content) - at)
    return content[:at] + bytes(size) + content[at + size:]


def edit_length(content: bytes, rng: Random) -> bytes:
    """A number of 4 or 8 bytes, in either order, where a length may stand."""
    code = rng.choice(("<Q", "<I", ">I"))
    number = rng.choice((*NUMBERS, len(content), len(content) + 1))
    field = struct.pack(code, number & ((1 << 8 * struct.calcsize(code)) - 1))
    at = 0 if rng.random() < 0.4 else _place(content, rng)
    return content[:at] + field + content[at + len(field):]


BYTE_DAMAGE: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits, truncate, insert, delete, zero_hole, edit_length)


MOST_WRITTEN = 64 << 20
"""Characters that a document is cut off at: more than any reader takes."""


class Raw(str):
    """A value that stands in JSON as it is written here."""


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 10**6, -(2**63), 2**64, 10**400, Raw("1e999"), Raw("NaN"),
    Raw("-Infinity"), 1e-320, 5e18, "", "x", "true", "1", "../../x", "\ud800", "\x1b[31m\x00",
    "x" * 70_000, [], {}, [[]], [None], {"": 0}, [0] * 5000, "__class__", "\u202e",
)


def damage_json(text: bytes, rng: Random) -> bytes:
    """The document with some values of another kind; or, at times, another document or damage to
    its bytes."""
    chance = rng.random()
    if chance < 0.2:
        return damage_bytes(text, rng)
    if chance < 0.3:
        return whole_document(text, rng)
    return written(damage_value(json.loads(text), rng))


def whole_document(text: bytes, rng: Random) -> bytes:
    odd = b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"", b"null", b"[]", b"{}", \
        b'"x"', b"1e999", b"NaN", b"9" * 5000, b"\xef\xbb\xbf" + text, text + text, \
        text.decode().encode("utf-16"), b"\xff" + text, b'"\\ud800"', text + b"\x00"
    return rng.choice(odd)


def damage_value(value: Any, rng: Random) -> Any:
    """One to three places of a JSON value changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _damage_place(value, rng)
    return value


def _damage_place(value: Any, rng: Random) -> Any:
    inside = value.keys() if isinstance(value, dict) else range(len(value)) \
        if isinstance(value, list) else ()
    if inside and rng.random() < 0.8:
        at = rng.choice(list(inside))
        copy = value.copy()
        copy[at] = _damage_place(value[at], rng)
        return copy
    if inside and rng.random() < 0.6:
        return _damage_members(value, rng)
    return _another(value, rng)


def _damage_members(value: Any, rng: Random) -> Any:
    """A list or an object with a member missing, added or many times there."""
    at = rng.choice(list(value) if isinstance(value, dict) else list(range(len(value))))
    copy = value.copy()
    how = rng.choice(("missing", "missing", "added", "renamed", "many"))
    many = 3000 if len(written(copy[at])) < 1000 else 30
    if how == "missing":
        del copy[at]
    elif isinstance(copy, list):
        copy = copy + [copy[at]] * (1 if how == "added" else many if how == "many" else 2)
    elif how == "renamed":
        copy[rng.choice(("", "x", "\ud800", f"{at} ", str(at).upper()))] = copy.pop(at)
    else:
        copy |= {f"{at}{i}": copy[at] for i in range(1 if how == "added" else many)}
    return copy


def _another(value: Any, rng: Random) -> Any:
    chance = rng.random()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if chance < 0.15 and number and abs(value) < 2**64:
        return rng.choice((-value, value * 10, value + 1, float(value), str(value), [value]))
    if chance < 0.25:
        depth = rng.choice((10, 500, 20_000))
        return Raw("[" * depth + "]" * depth) if rng.random() < 0.5 else \
            Raw('{"a":' * depth + "0" + "}" * depth)
    return rng.choice(ODD_VALUES)


def written(value: Any) -> bytes:
    """JSON in ASCII, so that lone surrogates are escapes; ``Raw`` values as they are; cut off after
    ``MOST_WRITTEN``."""
    parts, length = list[str](), 0
    for part in _parts(value):
        parts.append(part)
        length += len(part)
        if length > MOST_WRITTEN:
            break
    return "".join(parts).encode()


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, Raw):
        yield value
    elif isinstance(value, dict):
        yield "{"
        for i, (name, member) in enumerate(value.items()):
            yield f"{', ' if i else ''}{json.dumps(name)}: "
            yield from _parts(member)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for i, member in enumerate(value):
            if i:
                yield ", "
            yield from _parts(member)
        yield "]"
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**300:
        yield "9" * 400
    else:
        yield json.dumps(value)


def damage_text(text: bytes, rng: Random) -> bytes:
    """Lines of words."""
    odd = (b"\x00", b"\xff\xfe", b"\x1b[2J", "\u202e\u0000".encode(), b"x" * 100_000, b"\r",
           b" " * 9, "\U0001f600\u0301".encode(), b"\xed\xa0\x80")
    if rng.random() < 0.5:
        return damage_bytes(text, rng)
    at = _place(text, rng)
    return text[:at] + rng.choice(odd) + text[at:]


def damage_safetensors(content: bytes, rng: Random) -> bytes:
    """The bytes, or the JSON of the header with the length put right."""
    if rng.random() < 0.4:
        return damage_bytes(content, rng)
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    about = header.get("__metadata__", {})
    inner = [name for name, text in about.items() if text[:1] in "{["]
    if inner and rng.random() < 0.5:  # JSON that is kept as text in the header
        name = rng.choice(inner)
        text = damage_json(about[name].encode(), rng).decode(errors="replace")
        header["__metadata__"] = about | {name: text}
        new = written(header)
    else:
        new = damage_json(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(new)) + new + content[8 + size:]


def damage_weights(content: bytes, rng: Random) -> bytes:
    """As above; or one tensor holds numbers that are none."""
    if rng.random() < 0.75:
        return damage_safetensors(content, rng)
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    names = [n for n, one in header.items() if n != "__metadata__" and one["dtype"] == "F32"]
    begin, end = header[rng.choice(names)]["data_offsets"]
    odd = struct.pack("<f", rng.choice((float("nan"), float("inf"), float("-inf"))))
    start = 8 + size
    return content[: start + begin] + odd * ((end - begin) // 4) + content[start + end:]


def damage_zip(content: bytes, rng: Random) -> bytes:
    """The bytes of a .pth file, or one of its entries with the sums put right."""
    if rng.random() < 0.4:
        return damage_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    name = next(n for n in parts if n.endswith("data.pkl")) if rng.random() < 0.6 \
        else rng.choice(list(parts))
    if rng.random() < 0.1:
        del parts[name]
    else:
        parts[name] = damage_bytes(parts[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, data in parts.items():
            archive.writestr(zipfile.ZipInfo(entry), data)  # else the hour is written with it
    return buffer.getvalue()


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names and data."""
    found, at = [], 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def damage_png(content: bytes, rng: Random) -> bytes:
    """The bytes of a picture, or the JSON that it carries, or sizes that it claims; sums are put
    right."""
    chance = rng.random()
    if chance < 0.3:
        return damage_bytes(content, rng)
    out = [content[:8]]
    for name, data in png_chunks(content):
        if name == b"iTXt" and chance < 0.8:
            head, text = data[:13], data[13:]  # "toprovar", not compressed, no language
            data = head + damage_json(text, rng)
        elif name == b"iTXt" and chance < 0.85:  # compressed, and 60 MB when opened
            data = data[:9] + b"\x01" + data[10:13] + zlib.compress(bytes(60_000_000))
        elif name == b"IHDR" and chance >= 0.85:
            data = struct.pack(">II", *rng.choices((0, 1, 60_000, 2**31 - 1, 2**32 - 1), k=2)) \
                + data[8:]
        out.append(struct.pack(">I", len(data)) + name + data
                   + struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(out)
