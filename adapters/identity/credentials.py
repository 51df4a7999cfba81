"""Who the configuration says may knock, with which key. Recognises nobody: that is the authenticator's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapters.identity.apikeys import DEMO_PREFIX, KeyMint, weakness
from adapters.identity.keyfiles import OperatorKey
from adapters.identity.settings import PrincipalSettings
from gateway.core.errors import InvalidRequest
from gateway.core.model import Principal, principal
from gateway.core.ports.world import Secret, Secrets

AGENT_PREFIX = "agent:"
OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A principal of the configuration: one of `principals`, an agent, or the operator."""

    principal: Principal
    key: Secret | None = None
    """None: it can still be given minted keys, which then have its roles."""
    delegation_only: bool = False
    """An agent with `delegation: required`: no key is accepted, only the token of an open step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialTable:
    """Credentials by what a call is looked up with."""

    by_digest: Mapping[bytes, Credential]
    by_subject: Mapping[tuple[str, str], Credential]
    """By tenant and subject."""
    uses_demo_keys: bool


def principal_credentials(principals: Mapping[str, PrincipalSettings], resolver: Secrets) -> list[Credential]:
    """The section `principals`, its references resolved.

    Raises: InvalidRequest: a reference leads nowhere; `detail["path"]` is the place in the configuration.
    """
    found: list[Credential] = []
    for name, settings in principals.items():
        who = principal(name, kind=settings.kind, tenant=settings.tenant, roles=frozenset(settings.roles))
        found.append(Credential(principal=who, key=_resolved(settings.key, f"principals.{name}.key", resolver)))
    return found


def operator_credential(operator: OperatorKey) -> Credential:
    """Whoever holds the key file runs the gateway."""
    who = principal(OPERATOR, kind="operator", roles=frozenset({OPERATOR}))
    return Credential(principal=who, key=operator.key)


def credential_table(credentials: Iterable[Credential], mint: KeyMint) -> CredentialTable:
    """The table, after every key was judged.

    Raises: InvalidRequest: two principals of a tenant have one name, two have one key, or a key is too weak.
    """
    by_digest: dict[bytes, Credential] = {}
    by_subject: dict[tuple[str, str], Credential] = {}
    uses_demo_keys = False
    for credential in credentials:
        who = credential.principal
        if by_subject.setdefault((who.tenant, who.subject), credential) is not credential:
            raise InvalidRequest(f"there are two principals called {who.subject}")
        if credential.key is None:
            continue
        key = credential.key.reveal()
        weak = weakness(key)
        demo = key.startswith(DEMO_PREFIX)
        if weak and not demo:
            raise InvalidRequest(f"the key of {who.subject} is too weak: {weak}. Mint one with `drawbridge keys mint`")
        other = by_digest.setdefault(mint.digest(key.encode()), credential)
        if other is not credential:
            raise InvalidRequest(f"{other.principal.subject} and {who.subject} have the same key")
        uses_demo_keys = uses_demo_keys or demo
    return CredentialTable(by_digest=by_digest, by_subject=by_subject, uses_demo_keys=uses_demo_keys)


def _resolved(reference: str | None, path: str, resolver: Secrets) -> Secret | None:
    if reference is None:
        return None
    try:
        return resolver.resolve(reference)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}", detail={"path": path}) from error
