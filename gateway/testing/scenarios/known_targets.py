"""What a scenario's runs could have called: whoever expects of anything else that it was not, misspelled it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.config.problems import closest
from gateway.testing.scenarios.trace import named

KINDS = ("agent", "tool", "workflow", "skill", "prompt", "resource", "method")
NAMED_AT_MOST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTargets:
    """Everything that can be called, as far as that is known before anything is."""

    names: frozenset[str]
    open_owners: frozenset[str] = frozenset()
    """Servers, agents and buses that may have more than what is known by name: nobody mocks them."""
    owners: frozenset[str] = frozenset()
    """All of them; what they have beside agents, tools and workflows is listed nowhere."""
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Targets by the names of stages, steps and roles."""

    def with_names(self, called: Iterable[str]) -> "KnownTargets":
        """These, and what was called: a name that was decided at run time, or asked for in vain."""
        return replace(self, names=self.names.union(called))

    def stranger(self, pattern: str) -> str:
        """What is wrong with a name or glob that nothing can meet; empty where something may."""
        if self._may_be_met(pattern):
            return ""
        meant = self.parts.get(pattern) or closest(pattern, self.names) or self._by_local_name(pattern)
        suggestion = f" (did you mean {meant!r}?)" if meant else ""
        there = sorted(each for each in self.names if not each.startswith("tool:run/"))
        more = f" and {len(there) - NAMED_AT_MOST} more" if len(there) > NAMED_AT_MOST else ""
        return (
            f"nothing is called {pattern}, so it would hold whatever happens{suggestion}; "
            f"there are {', '.join(there[:NAMED_AT_MOST]) or 'none'}{more}"
        )

    def _may_be_met(self, pattern: str) -> bool:
        kind, _, rest = pattern.partition(":")
        if not pattern.strip("*") or (kind in KINDS and not rest.strip("*") and rest):
            return True
        if any(named(name, pattern) for name in self.names):
            return True
        owner, slash, _ = pattern.partition("/")
        if not slash:
            return False
        open_ones = [f"tool:{each}" for each in self.open_owners]
        open_ones += [f"{each}:{whose}" for each in KINDS[3:] for whose in self.owners]
        return any(named(each, owner) for each in open_ones)

    def _by_local_name(self, pattern: str) -> str:
        """Who was meant where the kind or the server was left out."""
        by_local = {name.partition(":")[2].rpartition("/")[2]: name for name in sorted(self.names, reverse=True)}
        found = closest(pattern.partition(":")[2].rpartition("/")[2] or pattern, by_local)
        return by_local[found] if found else ""
