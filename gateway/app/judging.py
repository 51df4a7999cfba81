"""What calls are judged by, of a configuration: alike in a gateway and in a scenario's."""

from collections.abc import Mapping, Sequence

from gateway.app.sections import Sections
from gateway.core.ports.policy import RequestPolicy
from policies.access.policy import AccessPolicy
from policies.propose import ProposePolicy
from policies.scope import ScopePolicy


def access_policy(sections: Sections, earlier: Mapping[str, Sequence[str]] | None = None) -> AccessPolicy:
    """The access policy of these sections, with what runs of `earlier` versions are granted. Raises: InvalidRequest."""
    grants = {**sections.grants, **(earlier or {})}
    return AccessPolicy(roles=sections.roles, lines=sections.configuration.line_of, grants=grants)


def policies_of_runs(sections: Sections) -> tuple[RequestPolicy, ...]:
    """What steps may not do, whatever their agents are granted."""
    remembering = [f"workflow:{slug}" for slug in sections.remembering]
    return ProposePolicy(), ScopePolicy(remembering)
