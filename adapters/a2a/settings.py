"""The section `agents` of the configuration: one entry an agent. Knows how it is written, not what is done with it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.net.auth_settings import AuthSettings


class AgentSettings(BaseModel):
    """One agent: where its card is, as whom it acts, and how far it is trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    card: str
    """URL of the agent card, or of the host that serves it under `/.well-known/agent-card.json`."""
    url: str = ""
    """Address to call instead of the one the card names."""
    roles: tuple[str, ...] = ()
    """What the agent may do when it calls back."""
    key: str = Field(default="", repr=False)
    """Reference to the key with which the agent itself knocks, for example `env:REFUNDS_KEY`."""
    delegation: bool | Literal["required"] = False
    """Whether the agent is handed a token for each step; `required` refuses its bare key while a step is open."""
    idempotent: bool = False
    """The agent answers a message id it has seen with the task it already has, so a message may be sent again."""
    headers: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request; values are literal or references `env:X`, `file:X`, `keyring:S/N`."""
    auth: AuthSettings | None = None
    """How the gateway gets the access token the agent asks for."""
    tags: tuple[str, ...] = ()
    """For rules about `tag:NAME`."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Its window: the most tokens a message to it may have; what exceeds is left out, and said to be."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest one call may take, seconds."""
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Calls in flight to it; by default `limits.upstream_concurrency`."""
    queue: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Calls waiting for it; by default `limits.upstream_queue`."""
    deterministic: bool = False
    """The same input always has the same answer, and asking changes nothing: answers are remembered."""
    cache_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    """How long an answer is remembered, seconds."""
    stale_on_error: bool = False
    """When it fails, its last answer to the same input is given, however old, and marked."""
    tenant: str = "default"
    """Whose agent it is; `*` for everybody's."""
    trust: Literal["trusted", "untrusted"] = "untrusted"
    """Whether what it says counts as said by an outsider."""

    @model_validator(mode="after")
    def _shows_tokens_where_it_says(self) -> "AgentSettings":
        if self.auth is None:
            return self
        if self.auth.kind == "user":
            raise ValueError("auth of an agent is client_credentials or token_exchange: it has no accounts of people")
        if not self.auth.issuer:
            raise ValueError("auth of an agent needs the issuer: agents do not say who gives tokens for them")
        if not self.url:
            # The card would say to whom the token is shown.
            raise ValueError("auth needs the url the token is for, whatever the card says")
        if any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give either auth or a header Authorization")
        return self
