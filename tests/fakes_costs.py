"""In-memory twins of what the meter works with."""

from collections.abc import Sequence


class WordCounter:
    """See `TokenCounter`: a word is a token."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    async def count(self, texts: Sequence[str]) -> int:
        self.counted += texts
        return sum(len(text.split()) for text in texts)

    async def cut(self, text: str, most: int) -> str:
        words = text.split(" ")
        return " ".join(words[: max(0, most)])
