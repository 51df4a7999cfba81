"""What chance is in a scenario: everything that is drawn follows from its seed, so that it can be had again. Pure."""

import random


class SeededIds:
    """See `Ids`: numbered, so that the same run has the same ids."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:026d}"


def drawn(seed: int, what: str, least: float, most: float) -> float:
    """A number between `least` and `most`, the same for the same seed and the same words."""
    # Not a secret: the same scenario is to be run again.
    return least if least >= most else random.Random(f"{seed}:{what}").uniform(least, most)  # noqa: S311
