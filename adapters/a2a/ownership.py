"""Whose task, and whose conversation, at which agent. To an agent the gateway is one client: this tells callers apart.

Somebody else's task and one that does not exist give the same answer (A2A 1.0, section 13: not found is not allowed).
"""

from adapters.a2a.wire.errors import a2a_error
from adapters.a2a.wire.values import valid_id
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.ports.gateway import Identity
from gateway.core.ports.storage import OwnedTask, TaskOwners
from gateway.core.ports.world import Clock

_CONTEXT = "context@"
"""Marks a conversation among the owned; no task id holds an @."""


class Ownership:
    """What callers own at agents behind the gateway."""

    def __init__(self, owners: TaskOwners, clock: Clock) -> None:
        self._owners = owners
        self._clock = clock

    async def claim(self, identity: Identity, agent: str, task_id: str, context_id: str) -> None:
        """Note that the agent opened this task, in this context, for the caller; either may be empty.

        Raises: UpstreamFailed: the agent answered with somebody else's.
        """
        if task_id and not await self._claimed(identity, agent, task_id, context_id):
            raise UpstreamFailed(f"{agent} answered with a task that is not the caller's")
        if context_id and not await self._claimed(identity, agent, _CONTEXT + context_id, context_id):
            raise UpstreamFailed(f"{agent} answered with a conversation that is not the caller's")

    async def require(self, identity: Identity, agent: str, task_id: str) -> OwnedTask:
        """The caller's task. Raises: NotFound: it is not, or there is none."""
        try:
            known = await self._owners.find(identity.principal.tenant, agent, valid_id(task_id))
        except InvalidRequest:
            known = None
        if known is None or known.subject != owner_of(identity):
            raise task_not_found()
        return known

    async def enter(self, identity: Identity, agent: str, context_id: str) -> None:
        """Let the caller speak in a context: one nobody has spoken in, or its own. Raises: InvalidRequest."""
        steps_own = context_id.startswith("run_") and "/" in context_id
        if steps_own or not await self._claimed(identity, agent, _CONTEXT + context_id, context_id):
            raise a2a_error("INVALID_PARAMS", "this contextId cannot be used; leave it out to begin a conversation")

    async def owned(self, identity: Identity, agent: str) -> list[str]:
        """Ids of the caller's tasks."""
        ids = await self._owners.of(identity.principal.tenant, agent, owner_of(identity))
        return [each for each in ids if not each.startswith(_CONTEXT)]

    async def _claimed(self, identity: Identity, agent: str, task_id: str, context_id: str) -> bool:
        return await self._owners.claim(
            OwnedTask(
                tenant=identity.principal.tenant,
                agent=agent,
                task_id=task_id,
                context_id=context_id,
                subject=owner_of(identity),
                created_at_us=self._clock.now_us(),
            )
        )


def owner_of(identity: Identity) -> str:
    """Who owns what is begun under an identity. An agent at work on a step owns for its run only: the same agent may
    work for somebody else at the same time."""
    subject = identity.principal.subject
    return f"{subject}@{identity.run_id}" if identity.run_id else subject


def task_not_found() -> GatewayError:
    return a2a_error("TASK_NOT_FOUND")
