"""Captions and tokenizer: true, varied, within the vocabulary, and the same on both paths."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from training.data import words
from training.data.captions import canonical, caption_words, captions, to_text, vocabulary
from training.data.catalog import load_classes
from training.data.colours import COLOUR_NAMES
from training.data.scene_batch import TASKS, SceneBatch
from training.data.scenes import Odds, sample_scenes
from training.data.tokenizer import (
    EOS_ID,
    MAX_LENGTH,
    PAD_ID,
    UNKNOWN_ID,
    CaptionEncoder,
    build_tokenizer,
    save_tokenizer,
    word_ids,
)


@pytest.fixture(scope="module")
def batch() -> SceneBatch:
    return sample_scenes(12_000, 21)


def test_vocabulary_is_small_and_covers_every_caption(batch: SceneBatch) -> None:
    known = vocabulary()
    assert len(known) <= 400 and len(set(known)) == len(known)
    used = {word for caption in caption_words(batch) for word in caption}
    assert used <= set(known)
    assert {word for text in canonical(batch[:3000]) for word in text.split()} <= set(known)
    # Hardly any word is in the vocabulary without ever being trained.
    assert len(set(known) - used - set(words.EXTRA_WORDS)) <= 5


def test_captions_are_reproducible_and_varied(batch: SceneBatch) -> None:
    assert captions(batch[:500]) == captions(batch)[:500]
    same = sample_scenes(400, 0, tasks={"binding": 1.0})
    repeated = type(same).concatenate([same[:1]] * 400)
    seeds = {**vars(repeated), "caption_seed": torch.arange(400)}
    assert len(set(captions(SceneBatch(**seeds)))) > 60


def test_captions_say_what_is_asked(batch: SceneBatch) -> None:
    classes = load_classes()
    for row, caption in enumerate(caption_words(batch[:3000])):
        scene = batch.scene(row)
        number = len(scene.objects)
        for thing in scene.objects:
            entry = next(c for c in classes if c.name == thing.cls)
            pairs = ((entry.name, entry.plural), *entry.synonyms)
            many = scene.task == "count" and number > 1
            assert any(pair[many] in caption for pair in pairs), caption
            if thing.colour:
                assert thing.colour in caption
        said = {word for word in caption if word in COLOUR_NAMES}
        wanted = {thing.colour for thing in scene.objects if thing.colour}
        if scene.say_background:
            wanted.add(scene.background)
        assert said - {"gray"} == wanted - {"gray"}, caption
        if scene.task == "count":
            assert words.NUMBERS[number - 1] in caption or words.DIGITS[number - 1] in caption


@pytest.mark.parametrize("relation", list(words.PLACED))
def test_relations_are_worded_truly(batch: SceneBatch, relation: str) -> None:
    """The word that names the place belongs to the object said first, mirrored or not."""
    horizontal = {"left": "right", "right": "left"}
    rows = [r for r in range(4000) if batch.task[r] == TASKS.index("position")]
    for row in rows:
        scene = batch.scene(row)
        if scene.relation != relation or relation not in horizontal:
            continue
        caption = caption_words(batch[row : row + 1])[0]
        entry = next(c for c in load_classes() if c.name == scene.objects[0].cls)
        nouns = [entry.name, *(pair[0] for pair in entry.synonyms)]
        subject = min(caption.index(noun) for noun in nouns if noun in caption)
        entry = next(c for c in load_classes() if c.name == scene.objects[1].cls)
        nouns = [entry.name, *(pair[0] for pair in entry.synonyms)]
        other = min(caption.index(noun) for noun in nouns if noun in caption)
        place = next(word for word in caption if word in horizontal)
        assert place == (relation if subject < other else horizontal[relation]), caption


def test_the_side_of_a_lone_object_is_said() -> None:
    words = {
        "left": {"left"}, "right": {"right"}, "above": {"top", "above"},
        "below": {"bottom", "below"},
    }
    batch = sample_scenes(600, 3, "train", {"single": 1.0, "colour": 1.0}, Odds(placed_single=1.0))
    said: set[str] = set()
    for row, (spoken, terse) in enumerate(
        zip(caption_words(batch), canonical(batch), strict=True)
    ):
        relation = batch.scene(row).relation
        assert relation is not None
        assert words[relation] & set(spoken) and words[relation] & set(terse.split())
        others = set().union(*(w for name, w in words.items() if name != relation))
        assert not others & set(spoken)
        said.add(relation)
    assert said == set(words)


def test_articles_fit() -> None:
    for caption in caption_words(sample_scenes(6000, 8)):
        for article, word in pairwise(caption):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), caption


def test_canonical_prompts_are_terse() -> None:
    drawn = sample_scenes(300, 4)
    for row, text in enumerate(canonical(drawn)):
        scene = drawn.scene(row)
        if scene.task == "colour" and not scene.say_background:
            assert text.endswith(f"{scene.objects[0].colour} {scene.objects[0].cls}")
        if scene.task == "position" and scene.relation == "left":
            assert "to the left of" in text
        if scene.say_background:
            assert text.endswith(f"{scene.background} background")


def test_fast_encoder_equals_the_tokenizer(batch: SceneBatch) -> None:
    split, texts = caption_words(batch[:4000]), captions(batch[:4000])
    encoder = CaptionEncoder()
    ids, lengths = encoder.encode_words(split)
    real = build_tokenizer()(texts, padding="max_length", truncation=True, return_tensors="pt")
    assert torch.equal(ids, real.input_ids)
    assert torch.equal(lengths, real.attention_mask.sum(dim=1))
    assert torch.equal(encoder.encode(texts)[0], ids)
    assert not (ids == UNKNOWN_ID).any()
    assert lengths.max() < MAX_LENGTH


def test_encoder_takes_what_people_type() -> None:
    typed = ["A RED Apple!", "two cats,on a  blue background.", "", "zebra", "a " * 60]
    ids, _ = CaptionEncoder().encode(typed)
    real = build_tokenizer()(typed, padding="max_length", truncation=True, return_tensors="pt")
    assert torch.equal(ids, real.input_ids)


def test_saved_tokenizer_loads_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_tokenizer(tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2)
    assert (PAD_ID, EOS_ID, UNKNOWN_ID) == (0, 1, 2)
    assert len(loaded) == len(word_ids())
    text = "A red apple, on a blue background."
    assert loaded(text).input_ids == build_tokenizer()(text).input_ids
    assert loaded(text).input_ids[-1] == EOS_ID


def test_text_is_joined_as_written() -> None:
    assert to_text(("a", "cat", ",", "blue", "background", ".")) == "a cat, blue background."


def test_captions_are_fast() -> None:
    drawn = sample_scenes(10_000, 1)
    start = time.process_time()
    CaptionEncoder().encode_words(caption_words(drawn))
    assert time.process_time() - start < 1.0
