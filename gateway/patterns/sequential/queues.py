"""A queue that never holds more than it may, and what gives way when it is full. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest"]
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class BoundedQueue(Generic[T]):
    """First in, first out."""

    size: int
    overflow: Overflow
    _waiting: deque[T] = field(default_factory=deque[T])

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def blocks(self) -> bool:
        """Whether whoever has something for it must wait."""
        return self.overflow == "block" and len(self._waiting) >= self.size

    def put(self, item: T) -> T | None:
        """Put it in; what gave way for that, perhaps the item itself. Not while it `blocks`."""
        if len(self._waiting) < self.size:
            self._waiting.append(item)
            return None
        match self.overflow:
            case "drop_newest":
                return item
            case "drop_oldest":
                oldest = self._waiting.popleft()
                self._waiting.append(item)
                return oldest
            case "block":
                raise AssertionError("the queue is full: ask whether it blocks")

    def take(self, most: int) -> list[T]:
        """The first ones, at most so many."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
