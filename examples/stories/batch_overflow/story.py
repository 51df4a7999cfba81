"""Documents that go through four stages in a batch. The third is slow, and the queue before it holds two."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from examples.stories.kit import Answer, Ask, Asked, Story, Told

DOCUMENTS = [f"Invoice {number} :  {number * 10} USD " for number in range(1, 9)]
QUEUE = 2
"""What the queue before each stage holds, as gateway.yaml says."""
SLOW_S = 0.2
PATIENCE_S = 30.0


class Desk:
    """The first three stages. On any machine the second is as quick as the first, and the third is behind it by more
    than the queue holds."""

    def __init__(self) -> None:
        self._cleaned: Counter[str] = Counter()
        """By run."""

    async def extract(self, asked: Asked) -> Answer:
        """Takes a document to pieces."""
        name, _, amount = asked.input["item"].partition(":")
        await self._until_cleaned(asked, number_of(name) - QUEUE, PATIENCE_S)
        return {"name": name, "amount": amount}

    def clean(self, asked: Asked) -> Answer:
        """Takes away what does not belong."""
        pieces: dict[str, str] = asked.of("extract")
        self._cleaned[run_of(asked)] += 1
        return {"name": pieces["name"].strip(), "usd": int(pieces["amount"].strip().removesuffix(" USD"))}

    async def analyse(self, asked: Asked) -> Answer:
        """Weighs an invoice. That takes its time."""
        invoice: dict[str, Any] = asked.of("clean")
        one_too_many = number_of(invoice["name"]) + QUEUE + 1
        await self._until_cleaned(asked, one_too_many, PATIENCE_S)
        # It is in the queue, or turned away, once the next is begun; where it waits, that does not come.
        await self._until_cleaned(asked, one_too_many + 1, 1.0)
        await anyio.sleep(SLOW_S)
        return {**invoice, "large": invoice["usd"] >= 50}

    async def _until_cleaned(self, asked: Asked, number: int, within_s: float) -> None:
        """Wait until this many documents have come to be cleaned, if there are so many."""
        with anyio.move_on_after(within_s):
            while self._cleaned[run_of(asked)] < min(number, len(DOCUMENTS)):  # noqa: ASYNC110 - another gets there
                await anyio.sleep(0.01)


def summarise(asked: Asked) -> Answer:
    """Says it in a sentence."""
    invoice: dict[str, Any] = asked.of("analyse")
    size = "large" if invoice["large"] else "small"
    return {"said": f"{invoice['name']} is {size}."}


def table_of(modes: Sequence[str], tolds: Sequence[Told]) -> str:
    """Which documents came through, and which gave way, by mode."""
    lines = [f"{'overflow':<12} {'read':<18} gave way"]
    for mode, told in zip(modes, tolds, strict=True):
        lines.append(f"{mode:<12} {_numbers(read(told)):<18} {_numbers(gave_way(told))}")
    return "\n".join(lines)


def read(told: Told) -> list[int]:
    """Numbers of the documents that came through."""
    return [each["item"] for each in told.answer["items"] if each["ok"]]


def gave_way(told: Told) -> list[int]:
    """Numbers of the documents the answer names as dropped."""
    return sorted(int(gap["step"].partition("[")[2].rstrip("]")) for gap in told.gaps)


def number_of(name: str) -> int:
    return int(name.removeprefix("Invoice "))


def run_of(asked: Asked) -> str:
    return asked.message_id.partition("/")[0]


def _numbers(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "-"


MODES = ("block", "drop-oldest", "drop-newest")

DESK = Desk()
STORY = Story(
    folder=Path(__file__).parent,
    agents={"extract": DESK.extract, "clean": DESK.clean, "analyse": DESK.analyse, "summarise": summarise},
    asks=tuple(Ask(workflow=mode, message="Read these.", data={"documents": DOCUMENTS}) for mode in MODES),
    epilogue=lambda world, tolds: table_of(MODES, tolds),
)
