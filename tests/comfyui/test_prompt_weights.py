"""Weights of words on the node, and what it says of a prompt."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.client import Client, Outcome
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import Prompt, quick_start

EMBEDDING = ('The prompt was read without "embedding:bad": Infinity has no textual-inversion '
             "embeddings.")
UNKNOWN = "The prompt has words that the text encoder does not know and cannot tell apart: "


def encoded(text: str, node: str, **more: Any) -> Prompt:
    """The quick start with a text node of its own name, under which nothing is cached."""
    prompt = quick_start(text, conditioning=[node, 0])
    prompt[node] = prompt.pop("text")
    prompt[node]["inputs"] |= more
    return prompt


@pytest.fixture
def node() -> str:
    return f"text-{uuid.uuid4().hex}"


def notes(done: Outcome) -> list[str]:
    return done.outputs["sample"]["toprovar_report"][0]["runs"][0]["notes"]


def test_weights_are_read_unless_they_are_switched_off(client: Client, reference: Path, node: str
                                                       ) -> None:
    # Graphs that were saved before the node had the input do not name it.
    done = client.run(encoded("a (red:0.2) apple", node))
    np.testing.assert_array_equal(pictures(client, done), np.load(reference / "weighted.npy"))
    assert done.outputs[node] == {"toprovar_notes": []}
    assert not any("prompt" in note for note in notes(done))
    off = client.run(encoded("a (red:0.2) apple", node, prompt_weights=False))
    assert (pictures(client, off) != np.load(reference / "weighted.npy")).any()
    assert 'the prompt has "(red:0.2)", which is read as it stands' in off.outputs["sample"][
        "text"][0]
    plain = client.run(encoded("a red apple", node, prompt_weights=True))
    np.testing.assert_array_equal(pictures(client, plain), np.load(reference / "auto.npy"))


def test_what_is_left_out_and_unknown_words_are_said_on_the_node(client: Client, node: str
                                                                 ) -> None:
    done = client.run(encoded("embedding:bad, a zebra on a skateboard", node))
    told = [EMBEDDING, f"{UNKNOWN}zebra, skateboard."]
    assert done.outputs[node] == {"toprovar_notes": told, "text": ["\n".join(told)]}
    assert [f"The {note[4:]}." for note in notes(done)[:2]] == told
    # The next prompt's notes take their place, also if there are none.
    assert client.run(encoded("a cat", node)).outputs[node] == {"toprovar_notes": []}


def test_every_line_is_a_prompt_of_its_own(client: Client, node: str) -> None:
    done = client.run(encoded("a (red:1.3) apple\na (zebra\na cat) BREAK", node,
                              prompt_per_line=True))
    assert len(pictures(client, done)) == 3
    assert done.outputs[node]["toprovar_notes"] == [
        f"{UNKNOWN.replace('has', '2 of 3 has')}(, zebra.",
        'The prompt 3 of 3 was read without "BREAK": Infinity reads a prompt in one piece.',
        f"{UNKNOWN.replace('has', '3 of 3 has')})."]
