"""What policies answer, and how several answers become one. Pure; only `pipeline` acts on a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from gateway.core.content import Body
from gateway.core.labels import CLEAN, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    policy: str
    rule: str = ""
    """Id of the rule that decided, for example `support.allow[0]`."""
    reason: str = ""
    grant: bool = False
    """Whether this is the grant without which a call is denied; only the access policy gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    policy: str
    rule: str
    reason: str
    """For the caller to read: no secret, no address."""
    scopes: tuple[str, ...] = ()
    """OAuth scopes the caller's token needs for such a call, where that is all that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Go on with `body` (None: as it is) and the added labels."""

    policy: str
    rule: str
    reason: str
    body: Body | None = None
    labels: Labels = CLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Go on only when somebody with `role` has agreed to exactly this call."""

    policy: str
    rule: str
    reason: str
    role: str


Verdict: TypeAlias = Allow | Deny | Rewrite | Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All verdicts on one call and the one that counts: Deny > Ask > Rewrite > Allow, the first of its rank."""

    deciding: Verdict
    verdicts: tuple[Verdict, ...]


NO_GRANT = Deny(policy="access", rule="no-grant", reason="no rule grants this call")


def judge(verdicts: Iterable[Verdict]) -> Judgement:
    """One judgement from all verdicts, in the order of the policies. Without a grant it is a Deny."""
    said = tuple(verdicts)
    for rank in (Deny, Ask):
        for verdict in said:
            if isinstance(verdict, rank):
                return Judgement(deciding=verdict, verdicts=said)
    granting = next((v for v in said if isinstance(v, Allow) and v.grant), None)
    if granting is None:
        return Judgement(deciding=NO_GRANT, verdicts=said)
    rewriting = next((v for v in said if isinstance(v, Rewrite)), None)
    return Judgement(deciding=rewriting or granting, verdicts=said)
