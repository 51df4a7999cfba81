"""The configuration, as operators have it read again and are told whether what the file says is in force."""

from dataclasses import dataclass
from typing import Protocol

from adapters.http.api_views import rfc3339
from gateway.core.json import Json, JsonObject
from gateway.core.model import DEFAULT_TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedConfiguration:
    """What the file said could not come into force; what was in force before still is."""

    at_us: int
    cause: str
    """`changed`, `signal` or `asked`."""
    problem: str


class Reload(Protocol):
    @property
    def refused(self) -> RefusedConfiguration | None:
        """The latest that was refused; None once what the file says is in force."""
        ...

    async def __call__(self) -> JsonObject:
        """Read the configuration again, as a whole or not at all: `version`, `changed`.

        Raises: InvalidRequest: what is wrong, under `problems`; the old one stays.
        """
        ...


def refused_view(refused: RefusedConfiguration | None, tenant: str) -> Json:
    """The problem may name what other tenants have: it is told to operators of the default tenant alone."""
    if refused is None:
        return None
    problem = refused.problem if tenant == DEFAULT_TENANT else ""
    return {"at": rfc3339(refused.at_us), "cause": refused.cause, "problem": problem}
