"""Counts tokens with toktok, whose vocabulary is part of its wheel: nothing is fetched. The only module that knows it.

`cl100k_base` rather than a newer vocabulary: it takes half the memory and half the time to load, and what is counted is
an estimate whichever is used, since agents do not tell which one they have.
"""

from collections.abc import Sequence
from functools import partial

import toktok
from anyio import to_thread

VOCABULARY = "cl100k_base"
LONG_CHARS = 64 * 1024
"""Texts from this length on are counted in a thread: some milliseconds' work, for which the GIL is let go."""

_TOKENS_OF_A_CHARACTER = 4
"""At most: a token is at least one byte."""


class VocabularyCounter:
    """See `TokenCounter`."""

    def warm(self) -> None:
        """Load the vocabulary: about 0.3 s and 40 MB, once. Blocks, so that no call has to wait for it later."""
        toktok.batch_count([""], VOCABULARY, 1)

    async def count(self, texts: Sequence[str]) -> int:
        sound = [_sound(text) for text in texts if text]
        if sum(map(len, sound)) < LONG_CHARS:
            return sum(_of_short(text) for text in sound)
        return sum(await to_thread.run_sync(partial(toktok.batch_count, sound, VOCABULARY, 1)))

    async def cut(self, text: str, most: int) -> str:
        # A token is at least one byte of text.
        if len(text.encode(errors="replace")) <= most:
            return text
        cut = partial(toktok.truncate, _sound(text), max(0, most), VOCABULARY)
        kept, _ = cut() if len(text) < LONG_CHARS else await to_thread.run_sync(cut)
        return kept


def _of_short(text: str) -> int:
    # `batch_count` lets go of the GIL and starts a thread, whatever the text: sixty times what a short one takes, and
    # more where other threads wait for the GIL. This counts in passing, and cuts nothing.
    return toktok.truncate(text, len(text) * _TOKENS_OF_A_CHARACTER, VOCABULARY)[1]


def _sound(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    return text if text.isascii() else text.encode(errors="replace").decode()
