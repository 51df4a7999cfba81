"""The section `principals` of the configuration. Resolves no secret."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from adapters.identity.secrets import check_reference
from gateway.core.model import DEFAULT_TENANT

SecretReference = Annotated[str, AfterValidator(check_reference)]
"""`env:NAME`, `file:PATH` or `keyring:SERVICE/NAME`; never the secret itself."""


class PrincipalSettings(BaseModel):
    """Somebody who may knock: `principals: {NAME: …}`."""

    # A literal key put here by mistake must not come back in the error that refuses it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    roles: tuple[str, ...] = ()
    """What it may do; see the section `roles`."""
    key: SecretReference | None = None
    """Reference to its API key. Without one it can still be given minted keys (`drawbridge keys mint`)."""
    kind: Literal["client", "operator", "agent"] = "client"
    """`operator` may use the administrative API; `agent` is a program that acts for others."""
    tenant: str = DEFAULT_TENANT
    """In which it lives; nothing is seen across tenants."""
