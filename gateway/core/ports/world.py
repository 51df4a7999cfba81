"""Time, ids and secrets. The only way the core learns of any of them."""

from typing import Protocol


class Clock(Protocol):
    """Both clocks, because each is wrong for the other's purpose."""

    def now_us(self) -> int:
        """UTC microseconds since 1970: for what is stored."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start: for waits and deadlines. The event loop's own clock."""
        ...


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A fresh id: `prefix`, `_`, and 26 characters that sort by time. Not a secret."""
        ...


class Secret:
    """A value that never shows itself: printing gives a mask, pickling fails; `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never pickled")


class Secrets(Protocol):
    """Resolves references such as `env:NAME`, `file:PATH`, `keyring:SERVICE/NAME`."""

    def resolve(self, reference: str) -> Secret:
        """The secret behind a reference.

        Raises: InvalidRequest: malformed, or nothing is behind it; the message names the reference, never a value.
        """
        ...
