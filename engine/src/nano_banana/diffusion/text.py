# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts as SDXL's UNet reads them, computed on the CPU in fp32: the encoders never take video memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

# One text is 77 x 2048 and 1280 numbers of 4 bytes in SDXL: 64 of them take 41 MB.
ENTRIES = 64


@dataclass(frozen=True)
class Embedding:
    """One text: `states` (1, tokens, width of both encoders), `pooled` (1, width of encoder 2), fp32; `note` or ""."""

    states: torch.Tensor
    pooled: torch.Tensor
    note: str = ""


@dataclass(frozen=True)
class Embeddings:
    """A prompt and what guides away from it, in the same shapes; `notes` is what its writer should know."""

    prompt: Embedding
    negative: Embedding

    @property
    def notes(self) -> tuple[str, ...]:
        """What was cut off, one sentence a text; empty when all was read."""
        return tuple(part.note for part in (self.prompt, self.negative) if part.note)


class PromptEncoder:
    """Both text encoders, and the last `entries` texts that they read.

    Gives what StableDiffusionXLPipeline.encode_prompt gives (as diffusers tells it): the hidden states before the last
    layer of each encoder side by side, and encoder 2's pooled output.
    """

    def __init__(
        self,
        tokenizers: tuple[Any, Any],
        encoders: tuple[Any, Any],
        *,
        layers_from_end: int = 2,
        zeros_for_empty: bool = True,
        entries: int = ENTRIES,
    ) -> None:
        self._readers = tuple(zip(tokenizers, encoders, strict=True))
        self._layers = (-layers_from_end, -2)
        self._zeros_for_empty = zeros_for_empty
        self._entries = entries
        self._known: OrderedDict[str, Embedding] = OrderedDict()
        self.computed = 0

    def encode(self, prompt: str, negative: str = "") -> Embeddings:
        """Embed one request's texts; an empty `negative` is zeros where the model was trained so."""
        wanted = self._text(prompt)
        if not negative and self._zeros_for_empty:
            return Embeddings(wanted, Embedding(torch.zeros_like(wanted.states), torch.zeros_like(wanted.pooled)))
        return Embeddings(wanted, self._text(negative))

    def _text(self, text: str) -> Embedding:
        known = self._known.pop(text, None)
        if known is None:
            known = self._compute(text)
            self.computed += 1
        self._known[text] = known
        while len(self._known) > self._entries:
            self._known.popitem(last=False)
        return known

    def _compute(self, text: str) -> Embedding:
        states, note = [], ""
        for (tokenizer, encoder), layer in zip(self._readers, self._layers, strict=True):
            length = tokenizer.model_max_length
            tokens = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            with torch.no_grad():
                output = encoder(tokens.input_ids, output_hidden_states=True)
            states.append(output.hidden_states[layer])
            note = note or _unread(tokenizer, text)
        # The pooled output is encoder 2's first one, and that encoder is the last one asked.
        return Embedding(torch.cat(states, dim=-1), output[0], note)


def _unread(tokenizer: Any, text: str) -> str:
    """A sentence about what does not fit between the start and end tokens, "" when all does."""
    room = tokenizer.model_max_length - 2
    # verbose=False: the tokenizer's own warning about this would name a limit that nobody here can change.
    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    if len(tokens) <= room:
        return ""
    rest = tokenizer.decode(tokens[room:])
    return f"The text has {len(tokens)} tokens and the model reads {room} of them. Not read: {rest[:200]!r}"
