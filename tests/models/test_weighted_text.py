"""Weights of words in text features, on a small random encoder and on the embedded model's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.lanes import KERNEL_LANES, Lane
from tests.tiny import tiny_text_encoder, tiny_tokenizer
from toprovar import InfinityPipeline, SamplingParams, SamplingRun, bundled_model, get_schedule
from toprovar.models import text_runner
from toprovar.models.text import PackedText
from toprovar.models.text_encoder import encode_prompts
from toprovar.models.weighted_text import _by_prefixes, token_weights
from toprovar.prompt_weights import parse_weights

PLAIN = ["a red apple", "", "two dog, a zebra", "  a  cat on the\nleft ",
         "caf\u00e9 :) \u65e5\u672c"]


@pytest.fixture(scope="module")
def pipeline() -> Iterator[InfinityPipeline]:
    """The embedded model."""
    found = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    found.set_progress_bar_config(disable=True)
    yield found


def of_ids(encoder: Any, ids: list[int], hidden: Collection[int] = (), pad: int = 0) -> Tensor:
    """[n, C]: T5 run plainly on tokens, some of them hidden."""
    tokens = [pad if i in hidden else token for i, token in enumerate(ids)]
    mask = [0 if i in hidden else 1 for i in range(len(ids))]
    with torch.no_grad():
        return encoder(input_ids=torch.tensor([tokens]), attention_mask=torch.tensor([mask])
                       ).last_hidden_state[0]


def reference(encoder: Any, ids: list[int], weights: list[float]) -> Tensor:
    """The formula, token by token."""
    plain = of_ids(encoder, ids)
    found = plain.clone()
    for weight in {w for w in weights if w != 1}:
        without = of_ids(encoder, ids, {i for i, w in enumerate(weights) if w == weight})
        for token in range(len(ids)):
            found[token] += (weight - 1) * (plain[token] - without[token])
    return found


def test_plain_prompts_have_the_same_features_bit_by_bit(pipeline: InfinityPipeline) -> None:
    for tokenizer, encoder in ((tiny_tokenizer(), tiny_text_encoder()),
                               (pipeline.tokenizer, pipeline.text_encoder)):
        literal = encode_prompts(PLAIN, tokenizer, encoder)
        weighted = encode_prompts(PLAIN, tokenizer, encoder, weights=True)
        assert torch.equal(literal.features, weighted.features)
        assert (literal.lengths, literal.notes) == (weighted.lengths, weighted.notes)
        # A weight of 1 is none, and brackets that are meant are the ones that were there.
        for read, text in (("a (red:1) apple", "a red apple"),
                           (r"a \(red\) apple", "a (red) apple")):
            found = encode_prompts([read], tokenizer, encoder, weights=True)
            assert torch.equal(found.features, encode_prompts([text], tokenizer, encoder).features)


def test_features_are_those_of_the_formula_token_by_token(pipeline: InfinityPipeline) -> None:
    prompts = {
        "a (red:1.5) apple": [1, 1.5, 1, 1],
        "a ((red) car:0.5) and a (dog:2)": [1, 0.55, 0.5, 1, 1, 2, 1],
        "(a blue car:0)": [0, 0, 0, 1],
        "(a) (cat:-1) on (the left:1.1)": [1.1, -1, 1, 1.1, 1.1, 1],
    }
    for tokenizer, encoder in ((tiny_tokenizer(), tiny_text_encoder()),
                               (pipeline.tokenizer, pipeline.text_encoder)):
        packed = encode_prompts([*prompts, "a cat"], tokenizer, encoder, weights=True)
        for row, (prompt, weights) in zip(packed.rows(), prompts.items(), strict=False):
            ids = tokenizer(parse_weights(prompt).text).input_ids
            wanted = reference(encoder, ids, list(map(float, weights)))
            torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-5)
            assert (row - of_ids(encoder, ids)).abs().max() > 1e-2
        # A prompt beside weighted ones is not touched.
        torch.testing.assert_close(
            packed.rows()[-1], encode_prompts(["a cat"], tokenizer, encoder).features)


@pytest.mark.parametrize(("prompt", "weights"), [
    ("a (red:1.2) apple", [1, 1.2, 1, 1]),
    ("  a   (Red\n apple:0.5) ,", [1, 0.5, 0.5, 1, 1]),
    ("(r:1.2)ed", [1.2 / 3 + 2 / 3, 1]),
    ("(  :1.2)a", [1, 1]),
    ("a (\U0001f600 :1.3)cat", [1, 1.3, 1, 1]),
    ("e\u0301 (cat:1.4)", [1, 1.4, 1]),
    ("\ufb01 (cat:1.4)", [1, 1.4, 1]),
])
def test_tokens_have_the_weight_of_their_letters(pipeline: InfinityPipeline, prompt: str,
                                                 weights: list[float]) -> None:
    read = parse_weights(prompt)
    found = token_weights(read, len(weights), pipeline.tokenizer, 64)
    assert found == pytest.approx(weights)


def pieces_tokenizer() -> Any:
    """One of flan-t5's kind: pieces of words, a mark for the space before a word, NFKC."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581a", "\u2581red", "\u2581app", "le",
              "\u2581super", "man", "\u2581cat", "s", ",", "fi"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize(("prompt", "weights"), [
    ("a (red:1.2) apple", {"\u2581a": 1, "\u2581red": 1.2, "\u2581app": 1, "le": 1, "</s>": 1}),
    ("a red (apple:1.5)", {"\u2581a": 1, "\u2581red": 1, "\u2581app": 1.5, "le": 1.5, "</s>": 1}),
    ("a super(man:1.3)", {"\u2581a": 1, "\u2581super": 1, "man": 1.3, "</s>": 1}),
    ("(a cat:2)s,", {"\u2581a": 2, "\u2581cat": 2, "s": 1, ",": 1, "</s>": 1}),
    ("a( cat:0.5)", {"\u2581a": 1, "\u2581cat": 0.5, "</s>": 1}),
    ("a (\ufb01:1.5)", {"\u2581a": 1, "\u2581": 1, "fi": 1.5, "</s>": 1}),
])
def test_pieces_of_words_have_the_weight_of_their_letters(prompt: str, weights: dict[str, float]
                                                          ) -> None:
    tokenizer = pieces_tokenizer()
    read = parse_weights(prompt)
    ids = tokenizer(read.text).input_ids
    found = token_weights(read, len(ids), tokenizer, 64)
    named = dict(zip(tokenizer.convert_ids_to_tokens(ids), found, strict=True))
    assert {piece: named[piece] for piece in weights} == weights
    by_prefixes = token_weights(read, len(ids), WithoutOffsets(tokenizer), 64)
    assert by_prefixes == found or "\ufb01" in prompt  # a mark of its own counts with its word


class WithoutOffsets:
    """A tokenizer of the kind that cannot tell where its tokens stand."""

    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, *texts: Any, **how: Any) -> Any:
        if how.get("return_offsets_mapping"):
            raise NotImplementedError("return_offset_mapping is not available")
        return self._tokenizer(*texts, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.mark.parametrize("prompt", [
    "a (red:1.2) apple", "(a red apple:0.5)", "a (cat, a dog:1.3) and (two:0.2) (blue cars:1.3)",
    "  (a)\n ( red  apple:1.4) ", "a (zebra:2) on the (left:0.1)", "(  :2) a cat", "a cat(,:2)",
])
def test_tokenizers_without_offsets_find_the_same_tokens(pipeline: InfinityPipeline, prompt: str
                                                         ) -> None:
    plain = pipeline.tokenizer
    read = parse_weights(prompt)
    count = len(plain(read.text).input_ids)
    assert _by_prefixes(read, count, plain) == token_weights(read, count, plain, 64)
    slow = encode_prompts([prompt], WithoutOffsets(plain), pipeline.text_encoder, weights=True)
    fast = encode_prompts([prompt], plain, pipeline.text_encoder, weights=True)
    assert torch.equal(slow.features, fast.features)


def test_hidden_words_are_hidden_in_padded_buckets_too() -> None:
    """As on a GPU, with the mask that is given ready."""
    encoder, tokenizer = tiny_text_encoder(), tiny_tokenizer()
    ids = tokenizer("a red apple on the left").input_ids
    runner = text_runner.EncodeRunner(encoder)
    tokens = torch.tensor([[0 if i in (1, 3) else token for i, token in enumerate(ids)]])
    mask = torch.tensor([[int(i not in (1, 3)) for i in range(len(ids))]])
    short = (0, 64 - len(ids))
    found = runner(encoder, F.pad(tokens, short), F.pad(mask, short), None)[0, : len(ids)]
    torch.testing.assert_close(found, of_ids(encoder, ids, {1, 3}))


@pytest.mark.parametrize("lane", KERNEL_LANES[1:])
def test_weights_on_a_gpu_are_those_of_the_cpu(lane: Lane) -> None:
    prompts = ["a (red:1.5) apple", "a ((red) car:0.5) and a (dog:2)", "a cat"]
    wanted = encode_prompts(prompts, tiny_tokenizer(), tiny_text_encoder(), weights=True)
    encoder = tiny_text_encoder().to(lane.device)
    for _ in range(3):  # step by step, recorded, replayed
        found = encode_prompts(prompts, tiny_tokenizer(), encoder, weights=True)
        torch.testing.assert_close(found.features.cpu(), wanted.features, rtol=1e-3, atol=1e-3)


def test_weighted_prompts_that_are_cut(pipeline: InfinityPipeline) -> None:
    """What is cut off has no weight, and the end token has none."""
    for tokenizer in (tiny_tokenizer(), WithoutOffsets(tiny_tokenizer())):
        prompt = "a (red:1.5) cat and (two dog:0.5) on the (left:2) (car:3)"
        text = encode_prompts([prompt], tokenizer, tiny_text_encoder(), 7, weights=True)
        ids = tiny_tokenizer()(parse_weights(prompt).text, truncation=True, max_length=7).input_ids
        assert len(ids) == 7
        wanted = reference(tiny_text_encoder(), ids, [1, 1.5, 1, 1, 0.5, 0.5, 1])
        torch.testing.assert_close(text.features, wanted, rtol=1e-4, atol=1e-5)
        assert any("only the first 7" in note for note in text.notes)


def test_notes_name_what_is_left_out_and_unknown_words(pipeline: InfinityPipeline) -> None:
    text = pipeline.encode_prompt(
        ["a (zebra:1.2) on a skateboard", "embedding:bad a cat", "a cat"], weights=True)
    assert text.notes == (
        "1 of 3 has words that the text encoder does not know and cannot tell apart: zebra, "
        "skateboard",
        '2 of 3 was read without "embedding:bad": Infinity has no textual-inversion embeddings')
    assert torch.equal(text.rows()[1], text.rows()[2])
    empty = pipeline.encode_prompt("embedding:bad", weights=True)
    assert any("is empty" in note for note in empty.notes) and empty.lengths == (1,)
    literal = pipeline.encode_prompt("a (red:1.2) cat")
    assert literal.notes[0] == 'has "(red:1.2)", which is read as it stands, like any other word'
    assert pipeline.encode_prompt("a (red) cat").notes[0].startswith("has words")


def test_scaled_features_would_change_nothing(pipeline: InfinityPipeline) -> None:
    """Why words are not weighed by the length of their features."""
    plain = pipeline.encode_prompt("a red apple")
    scaled = plain.features.clone()
    scaled[1] *= 1.5
    transformer = pipeline.transformer
    with torch.no_grad():
        before = transformer.prepare_text(plain).projected
        same = transformer.prepare_text(PackedText(scaled, plain.lengths)).projected
        weighted = transformer.prepare_text(
            pipeline.encode_prompt("a (red:1.5) apple", weights=True)).projected
    torch.testing.assert_close(before, same, rtol=1e-3, atol=1e-4)
    assert (weighted - before).abs().max() > 0.05


def logits(pipeline: InfinityPipeline, text: PackedText, bits: list[Tensor] | None, scales: int
           ) -> tuple[list[Tensor], list[Tensor]]:
    """Of the first scales of three pictures, and the bits, drawn unless they are given."""
    found, chosen = list[Tensor](), list[Tensor]()
    generator = torch.Generator().manual_seed(5)

    def choose(scale: int, values: Tensor) -> Tensor:
        two = values.unflatten(-1, (-1, 2))
        found.append(two[..., 1] - two[..., 0])
        drawn = torch.rand(found[-1].shape, generator=generator) < found[-1].sigmoid()
        chosen.append(drawn.to(torch.uint8) if bits is None else bits[scale])
        return chosen[-1]

    run = SamplingRun(pipeline.transformer, text.repeat_each(3),
                      SamplingParams(get_schedule("1.0", "0.06M"), cfg=1.0), choose=choose)
    with torch.inference_mode():
        for state in run:
            if state.index + 1 == scales:
                break
    return found, chosen


@pytest.mark.parametrize(("before", "word", "after", "beyond"), [
    ("a", "red", "apple", 1.1), ("a dog and a", "yellow", "star", 1.1),
    # All of these two is drawn as it is: they can be weakened only.
    ("a photo of a", "cat", "", 0.9), ("a purple cat on a", "green", "background", 0.9),
])
def test_a_weight_moves_what_is_drawn_as_far_as_it_says(
    pipeline: InfinityPipeline, before: str, word: str, after: str, beyond: float
) -> None:
    """Logits on the way from the prompt without the word (0) to that with it (1), and beyond."""
    with_word, bits = logits(pipeline, pipeline.encode_prompt(f"{before} {word} {after}"), None, 5)
    without, _ = logits(pipeline, pipeline.encode_prompt(f"{before} {after}"), bits, 5)
    way = [b - a for a, b in zip(without, with_word, strict=True)]

    def reached(weight: float) -> float:
        text = pipeline.encode_prompt(f"{before} ({word}:{weight}) {after}", weights=True)
        values, _ = logits(pipeline, text, bits, 5)
        along = sum(float(((value - start) * step).sum())
                    for value, start, step in zip(values, without, way, strict=True))
        return along / sum(float(step.square().sum()) for step in way)

    gone, half, most, more = map(reached, (0.0, 0.5, 0.8, 1.3))
    assert -0.3 < gone < 0.3 and 0.1 < half < 0.75 and gone < half < most < 1
    assert more > beyond
