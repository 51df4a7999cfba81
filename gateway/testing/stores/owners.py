"""Whose tasks at agents are, in memory."""

from gateway.core.ports.storage import OwnedTask


class MemoryOwners:
    """See `TaskOwners`."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str, str], OwnedTask] = {}

    async def claim(self, task: OwnedTask) -> bool:
        return self._tasks.setdefault((task.tenant, task.agent, task.task_id), task).subject == task.subject

    async def find(self, tenant: str, agent: str, task_id: str) -> OwnedTask | None:
        return self._tasks.get((tenant, agent, task_id))

    async def of(self, tenant: str, agent: str, subject: str) -> frozenset[str]:
        wanted = (tenant, agent, subject)
        found = (each for each in self._tasks.values() if (each.tenant, each.agent, each.subject) == wanted)
        return frozenset(each.task_id for each in found)
