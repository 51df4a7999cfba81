"""Reading the configuration again, and which one was refused for as long as none has come into force since."""

from collections.abc import Awaitable, Callable

from adapters.http.api_configuration import RefusedConfiguration
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject
from gateway.core.ports.world import Clock


class Reloading:
    """See `api_configuration.Reload`. Whoever else tries a configuration says here what became of it, before anybody
    else has a turn."""

    def __init__(self, reload: Callable[[], Awaitable[JsonObject]], clock: Clock) -> None:
        self._reload = reload
        self._clock = clock
        self._refused: RefusedConfiguration | None = None

    @property
    def refused(self) -> RefusedConfiguration | None:
        return self._refused

    async def __call__(self) -> JsonObject:
        try:
            said = await self._reload()
        except GatewayError as error:
            self.refuse(error, "asked")
            raise
        self.clear()
        return said

    def refuse(self, error: GatewayError, cause: str) -> None:
        """What the file says could not come into force."""
        self._refused = RefusedConfiguration(at_us=self._clock.now_us(), cause=cause, problem=error.message)

    def clear(self) -> None:
        """What the file says is in force."""
        self._refused = None
