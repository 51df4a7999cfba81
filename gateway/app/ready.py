"""A scenario, ready to be run: with its configuration, and who of it is real."""

from dataclasses import dataclass, field

from adapters.tokens import VocabularyCounter
from gateway.app.sections import Sections
from gateway.testing.scenarios.files import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A scenario, and what it runs against."""

    scenario: Scenario
    sections: Sections
    real: bool = False
    """Every upstream of the configuration is asked, and nobody is mocked."""
    takes_time: bool = False
    """Time is real, whoever is asked."""
    counter: VocabularyCounter = field(default_factory=VocabularyCounter)

    @property
    def real_owners(self) -> frozenset[str]:
        """Slugs of servers, agents and buses that are asked themselves."""
        sections = self.sections
        if self.real:
            return frozenset({*sections.servers, *sections.agents, *sections.buses})
        named = [target.partition(":")[2] for target, mock in self.scenario.mocks.items() if mock.real]
        return frozenset(name.partition("/")[0] for name in named)

    @property
    def in_real_time(self) -> bool:
        return self.takes_time or bool(self.real_owners)
