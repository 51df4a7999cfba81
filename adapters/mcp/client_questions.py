"""What a program has asked its callers and has no answer to: by the id it chose, in which call. No I/O."""

MOST_QUESTIONS = 32
"""Asked in one call."""


class Questions:
    """Of one run of a program."""

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}
        self._asked: dict[int, int] = {}

    def __contains__(self, question: bytes) -> bool:
        return question in self._open

    @property
    def calls(self) -> frozenset[int]:
        """The calls that wait for an answer of their callers."""
        return frozenset(self._open.values())

    def put(self, question: bytes, call: int) -> None:
        """It has been asked in this call."""
        self._open[question] = call
        self._asked[call] = self._asked.get(call, 0) + 1

    def close(self, question: bytes) -> int:
        """It is answered, or no longer asked; the call it was asked in, 0 where there is none such."""
        return self._open.pop(question, 0)

    def too_many(self, call: int) -> bool:
        """Whether as much has been asked in a call as may be."""
        return self._asked.get(call, 0) >= MOST_QUESTIONS

    def forget(self, call: int) -> list[bytes]:
        """A call is over; what was asked in it and is open."""
        self._asked.pop(call, None)
        left = [question for question, number in self._open.items() if number == call]
        for question in left:
            del self._open[question]
        return left
