"""Brackets of prompts: what is read as a weight, and what stays text."""

from __future__ import annotations

import random
import time

import pytest

from toprovar.prompt_weights import (
    LARGEST,
    Span,
    WeightedPrompt,
    escape,
    format_weights,
    meant_to_be_read,
    parse_weights,
)

NO_EMBEDDINGS = "Infinity has no textual-inversion embeddings"


@pytest.mark.parametrize(("prompt", "text", "weights"), [
    ("a (red:1.2) apple", "a red apple", {"red": 1.2}),
    ("a (red) apple", "a red apple", {"red": 1.1}),
    ("a ((red)) apple", "a red apple", {"red": 1.21}),
    ("a (big (red:1.2):1.5) apple", "a big red apple", {"big ": 1.5, "red": 1.8}),
    ("a (red: 0.5 ) apple", "a red apple", {"red": 0.5}),
    ("(a:.5) (b:2.) (c:-1) (d:+3)", "a b c d", {"a": 0.5, "b": 2, "c": -1, "d": 3}),
    ("(a red apple, a cat:0)", "a red apple, a cat", {"a red apple, a cat": 0}),
    ("(a:1) b", "a b", {}),
    ("(a:1.2)(b:1.2)", "ab", {"ab": 1.2}),
    ("(now: later:1.3)", "now: later", {"now: later": 1.3}),
    # Brackets that are meant, and those without their other half.
    (r"a cat \(orange\)", "a cat (orange)", {}),
    (r"a (cat \(orange\):1.2)", "a cat (orange)", {"cat (orange)": 1.2}),
    (r"a (cat :\):1.2)", "a cat :)", {"cat :)": 1.2}),
    (r"C:\cats and \\", r"C:\cats and \\", {}),
    ("a cat :) and a dog (", "a cat :) and a dog (", {}),
    ("a ((cat) dog", "a (cat dog", {"cat": 1.1}),
    ("(a) b) c", "a b) c", {"a": 1.1}),
    ("()", "", {}),
    # What only looks like a weight.
    ("(a:nan)", "a:nan", {"a:nan": 1.1}),
    ("(a:1e3)", "a:1e3", {"a:1e3": 1.1}),
    ("(a:1_0)", "a:1_0", {"a:1_0": 1.1}),
    ("(a:\u0663)", "a:\u0663", {"a:\u0663": 1.1}),
    ("(at 5:30)", "at 5:30", {"at 5:30": 1.1}),
    ("(16:9)", "16:9", {"16:9": 1.1}),
    ("(model 3:1.5)", "model 3", {"model 3": 1.5}),
    ("(:1.2)", ":1.2", {":1.2": 1.1}),
    ("[a:1.2] {b:1.2} <c:1.2>", "[a:1.2] {b:1.2} <c:1.2>", {}),
])
def test_brackets_weigh(prompt: str, text: str, weights: dict[str, float]) -> None:
    found = parse_weights(prompt)
    assert found.text == text and found.notes == ()
    assert {text[s.start : s.end]: s.weight for s in found.spans} == weights


@pytest.mark.parametrize("prompt", [
    "", " ", "a red apple", "  a\tred\n apple,, ", "caf\u00e9 \u65e5\u672c \U0001f600\u200d",
    "a\\b", "an embedding: a plot", "BREAKFAST at nine", 'a sign with "BREAK"', "1:2, a:1.2",
    "\x00\ufeff",
])
def test_prompts_without_brackets_stay_as_they_are(prompt: str) -> None:
    assert parse_weights(prompt) == WeightedPrompt(prompt)
    assert meant_to_be_read(prompt) is None


@pytest.mark.parametrize(("prompt", "text", "names"), [
    ("embedding:easynegative, a cat", "a cat", ["embedding:easynegative"]),
    ("a cat, embedding:one, embedding:two, a dog", "a cat, a dog",
     ["embedding:one", "embedding:two"]),
    ("a cat embedding:one, a dog", "a cat, a dog", ["embedding:one"]),
    ("a cat, (embedding:one:1.3)", "a cat,", ["embedding:one"]),
    ("embedding:one", "", ["embedding:one"]),
    ("a cat BREAK a dog", "a cat a dog", ["BREAK"]),
    ("a cat,\nBREAK\na dog", "a cat,\na dog", ["BREAK"]),
])
def test_what_is_for_other_programs_is_left_out_and_named(prompt: str, text: str, names: list[str]
                                                          ) -> None:
    found = parse_weights(prompt)
    assert found.text == text
    quoted = ", ".join(f'"{name}"' for name in names)
    why = NO_EMBEDDINGS if "embedding" in prompt else "Infinity reads a prompt in one piece"
    assert found.notes == (f"was read without {quoted}: {why}",)
    assert names[0] in (meant_to_be_read(prompt) or "")


def test_weights_stay_with_their_words_when_something_goes() -> None:
    found = parse_weights("embedding:x, a (red:1.2) embedding:y (apple:0.5)")
    assert found.text == "a red apple"
    assert found.spans == (Span(2, 5, 1.2), Span(6, 11, 0.5))


def test_many_left_out_texts_make_a_short_note() -> None:
    found = parse_weights(" ".join(f"embedding:{'x' * 500}{i}" for i in range(500)))
    (note,) = found.notes
    assert "and 492 more" in note and len(note) < 800


def test_weights_beyond_the_largest_are_held_to_it_and_noted() -> None:
    for prompt in ("(a:99)", "(a:-99)", "(" * 500 + "a" + ")" * 500, "(a:" + "9" * 39 + ")",
                   "((" * 5000 + "a" + ":1000):1000)" * 5000):
        found = parse_weights(prompt)
        assert abs(found.spans[0].weight) == LARGEST
        assert found.notes == ("has weights beyond 10, which were taken as 10",)


def test_a_literal_prompt_says_what_it_would_be_elsewhere() -> None:
    assert meant_to_be_read("a (cat) and a (red:1.2) apple, embedding:x") == "(red:1.2)"
    assert meant_to_be_read(r"a \(red:1.2\) apple (16:9)") is None


PIECES = ["(", ")", "\\", "\\(", "\\)", ":", "1.2", "-3", ".", "5", " ", "a", "embedding:", "x",
          ",", "BREAK", "\n", "\t", "\u00e9", "e\u0301", "\u65e5", "\U0001f600", "\u200b", "\x00",
          "\u0663", "\u3000", "(a:1.2)", "((b))", "\ufdfa"]


@pytest.mark.parametrize("seed", range(4))
def test_any_prompt_is_read_and_can_be_written_again(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(4000):
        prompt = "".join(draw.choices(PIECES, k=draw.randint(0, 16)))
        if draw.random() < 0.2:
            prompt += "".join(chr(draw.choice((draw.randrange(0xD800), draw.randrange(
                0xE000, 0x110000)))) for _ in range(4))
        found = parse_weights(prompt)
        at = 0
        for span in found.spans:
            assert at <= span.start < span.end <= len(found.text)
            assert abs(span.weight) <= LARGEST and span.weight != 1
            at = span.end
        again = parse_weights(format_weights(found))
        assert (again.text, again.spans, again.notes) == (found.text, found.spans, ())
        # A bracket that is meant stays one, and nothing of the text is lost.
        plain = parse_weights(escape(found.text))
        assert (plain.text, plain.spans) == (found.text, ())


@pytest.mark.parametrize("prompt", [
    "(" * 100_000, "(" * 50_000 + ")" * 50_000, "(a:1.2)" * 20_000, " BREAK" * 20_000,
    "embedding:a, " * 10_000, "\\" * 100_000, " " * 100_000 + "BREAK",
    "(a " * 20_000 + ":1.1)" * 20_000, ":" * 100_000 + ")", "(" + "1" * 100_000 + ":)",
], ids=lambda prompt: prompt[:6])
def test_long_prompts_are_read_in_no_time(prompt: str) -> None:
    started = time.process_time()
    parse_weights(prompt)
    meant_to_be_read(prompt)
    assert time.process_time() - started < 5
