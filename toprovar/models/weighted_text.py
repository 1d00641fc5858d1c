"""Weights of words, applied to text features.

The features of a prompt are moved by what the weighted words say in it:

    F' = F + sum over weights w of (w - 1) (F - F_w)

F are the features of all tokens. F_w are those of the same prompt in which the tokens of weight w
are hidden: each is a padding token, which the others do not attend to, so that nothing moves and
nothing is left of the words. A weight of 0 gives F_w, 1 leaves everything as it is.

Two simpler ways do not work here. The transformer normalises each token's features, so that their
length means nothing to it and scaling them changes no picture. And moving the weighted tokens'
own features only leaves what the encoder has told all the other tokens of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..prompt_weights import WeightedPrompt

Encode = Callable[[Tensor, Tensor], Tensor]
"""(ids [1, n], mask [1, n]) -> features [1, n or more, C]."""


def weigh(features: Tensor, ids: Tensor, weights: list[float], pad: int, encode: Encode) -> Tensor:
    """Features of a prompt with the weights of its words.

    Args:
        features: [n, C] float32, without weights.
        ids: [n] tokens; weights: of each.
        pad: the padding token.
        encode: gives features of changed tokens, as it gave ``features``.
    """
    own = torch.tensor(weights, dtype=torch.float64)
    found = features
    for weight in dict.fromkeys(w for w in weights if w != 1):
        hidden = own == weight
        without = encode(ids.masked_fill(hidden, pad)[None], (~hidden).long()[None])
        found = found + (weight - 1) * (features - without[0, : len(ids)].to(features))
    return found


def token_weights(prompt: WeightedPrompt, count: int, tokenizer: Any, max_length: int
                  ) -> list[float]:
    """The weight of each of a prompt's ``count`` tokens: the mean over its characters but white
    space; 1 for tokens without such, as the end token.

    Args:
        max_length: tokens that the prompt was cut to.
    """
    if not getattr(tokenizer, "is_fast", False):
        return _by_prefixes(prompt, count, tokenizer)
    offsets = tokenizer(
        prompt.text, truncation=True, max_length=max_length, return_offsets_mapping=True
    ).offset_mapping
    letters = [1.0] * len(prompt.text)
    for span in prompt.spans:
        letters[span.start : span.end] = [span.weight] * (span.end - span.start)
    weights = []
    for start, end in offsets:
        own = [letters[i] for i in range(start, end) if not prompt.text[i].isspace()]
        # Not a sum where all are alike: tokens of one weight are told by it.
        weights.append(1.0 if not own else own[0] if len(set(own)) == 1 else sum(own) / len(own))
    return weights


def _by_prefixes(prompt: WeightedPrompt, count: int, tokenizer: Any) -> list[float]:
    """The same from a tokenizer that does not tell where its tokens stand: a text has as many
    tokens before a place as the text up to there alone. A token across a border has the weight of
    what follows."""

    def tokens(end: int) -> int:
        return len(tokenizer(prompt.text[:end].rstrip(), add_special_tokens=False).input_ids)

    weights = [1.0] * count
    for span in prompt.spans:
        if not prompt.text[span.start : span.end].strip():
            continue
        last = tokens(span.end)
        first = min(tokens(span.start), last - 1)
        if first >= count - 1:  # cut off; the last of all is the end token
            break
        for token in range(max(first, 0), min(last, count - 1)):
            weights[token] = span.weight
    return weights
