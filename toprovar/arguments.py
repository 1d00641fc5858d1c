"""What a caller gives, as plain numbers and texts: Python's, numpy's and torch's alike. Nothing
here needs torch, so that the command line can refuse before it is imported."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

DTYPE_NAMES = ("float32", "bfloat16", "float16")
DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
ATTENTION_BACKENDS = ("auto", "flash", "efficient", "cudnn", "math")
MOST_IMAGES = 1000
"""Pictures of a prompt in one call; they are drawn together."""
SEEDS = 1 << 64
"""Seeds count modulo this: the seed after the last is 0."""


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer of any kind; a ValueError names what is none, or out of bounds."""
    try:
        found = operator.index(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if found < least or (most is not None and found > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {bounds}, got {found}")
    return found


def number(name: str, value: Any) -> float:
    """A finite number of any kind; a ValueError names what is none."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a finite number, got {found}")
    return found


def single(value: Any) -> bool:
    """Whether it is one value, also as an array without dimensions, rather than several."""
    return not hasattr(value, "__iter__") or getattr(value, "ndim", None) == 0


def numbers(name: str, value: Any) -> tuple[float, ...] | float:
    """One number, or a tuple of them."""
    return number(name, value) if single(value) else tuple(number(name, one) for one in value)


def guidance(name: str, value: Any) -> tuple[float, ...] | float:
    """Guidance strength, 0 or more; one, or one for each scale."""
    found = numbers(name, value)
    if min(found if isinstance(found, tuple) else (found,), default=0.0) < 0:
        raise ValueError(f"{name} must be 0 or more (1 = no guidance), got {found}")
    return found


def temperature(name: str, value: Any) -> tuple[float, ...] | float:
    """Temperature, above 0; one, or one for each scale."""
    found = numbers(name, value)
    if min(found if isinstance(found, tuple) else (found,), default=1.0) <= 0:
        raise ValueError(f"{name} must be above 0 at every scale, got {found}")
    return found


def share(name: str, value: Any) -> float:
    """A number between 0 and 1."""
    found = number(name, value)
    if not 0 <= found <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {found}")
    return found


def positive(name: str, value: Any) -> float:
    """A number above 0."""
    found = number(name, value)
    if found <= 0:
        raise ValueError(f"{name} must be above 0, got {found:g}")
    return found


def seed_list(seeds: Any, count: int) -> list[int]:
    """Seeds of ``count`` images: each its own, or counted up from one, modulo 2^64.

    Raises:
        ValueError: not as many seeds as images, or one that is not between -2^63 and 2^64 - 1.
    """
    least, most = -(SEEDS >> 1), SEEDS - 1
    if single(seeds):
        first = whole("seed", seeds, least, most)
        return [first, *((first + i) % SEEDS for i in range(1, count))][:count]
    found = [whole("seed", seed, least, most) for seed in seeds]
    if len(found) != count:
        raise ValueError(f"{len(found)} seeds given for {count} images")
    return found


def check_prompts(name: str, prompts: Sequence[Any]) -> list[str]:
    """Texts that can be encoded; a ValueError names the prompt and what is wrong with it."""
    if not prompts:
        raise ValueError(f"{name} is an empty list: give at least one prompt")
    for n, prompt in enumerate(prompts, 1):
        which = name if len(prompts) == 1 else f"{name} {n} of {len(prompts)}"
        if not isinstance(prompt, str):
            raise ValueError(f"{which} must be text, got {type(prompt).__name__}")
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            half = ord(prompt[error.start])
            raise ValueError(
                f"{which} is not valid text: character {error.start + 1} is half of a surrogate "
                f"pair (U+{half:04X}): give whole characters, or bytes decoded as UTF-8") from None
    return list(prompts)
