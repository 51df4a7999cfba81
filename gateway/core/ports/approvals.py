"""Questions that wait for a person, and what the person said. Durable, because people take their time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.core.json import Json, JsonObject

ApprovalState = Literal["pending", "approved", "denied", "expired", "withdrawn"]
"""`expired`: nobody answered in time; `withdrawn`: the run ended before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question of one run."""

    id: str
    """`RUN.q1`: the run and the number of its question."""
    tenant: str
    run_id: str
    number: int
    workflow: str
    owner: str
    """Who started the run; may not answer."""
    role: str
    """Who may answer, beside operators."""
    prompt: str
    schema: Mapping[str, Json] | None = None
    """Of the value that goes with an approval."""
    asked_at_us: int
    expires_at_us: int
    state: ApprovalState = "pending"
    answered_by: str = ""
    answered_at_us: int = 0
    value: Json = None
    comment: str = ""
    settled: bool = False
    """The run knows."""

    @property
    def answered(self) -> bool:
        return self.state in ("approved", "denied")

    @property
    def answer(self) -> JsonObject:
        """What the run is told once it is answered."""
        return {
            "approved": self.state == "approved",
            "by": self.answered_by,
            "value": self.value,
            "comment": self.comment,
        }


class Approvals(Protocol):
    async def ask(self, approval: Approval) -> None:
        """Store a question; one that is there stays as it is."""
        ...

    async def answer(self, answered: Approval) -> Approval:
        """Store an answer; the same one again changes nothing.

        Raises: NotFound; Conflict: another answer is there, or it is over.
        """
        ...

    async def settle(self, approval_id: str, state: ApprovalState) -> None:
        """The run knows the answer, or that there is none; `state` counts where it was still pending."""
        ...

    async def withdraw(self, run_id: str) -> None:
        """The run has ended: nobody has to answer any more."""
        ...

    async def renew(self, run_id: str) -> None:
        """The run goes on after all: what was withdrawn waits again, for as long as it had been given."""
        ...

    async def find(self, tenant: str, approval_id: str) -> Approval | None: ...

    async def list(
        self,
        tenant: str,
        *,
        state: str = "",
        run_id: str = "",
        roles: Collection[str] | None = None,
        limit: int = 100,
    ) -> tuple[Approval, ...]:
        """Newest first; with `roles` only what waits for one of them."""
        ...

    async def undelivered(self) -> tuple[Approval, ...]:
        """Answered, and the run may not know yet: the gateway crashed in between. Of every tenant."""
        ...
