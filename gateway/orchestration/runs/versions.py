"""Versions of workflows of which runs are under way in this process, and what they are granted for as long."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from gateway.core.json import JsonObject
from gateway.orchestration.records.spec import RunSpec, version_of, version_role
from gateway.orchestration.settings.workflow import WorkflowSettings


class Versions:
    """A run finishes on the version it began with, so it may call what that one names, and no other run may."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called when a run of a version begins that is not the present one's."""
        self._on_change = on_change
        self._present: frozenset[str] = frozenset()
        self._runs: dict[str, int] = {}
        self._settings: dict[str, JsonObject] = {}
        """Of the versions under way; what one may call is looked up when a change asks for it."""

    def configure(self, workflows: Mapping[str, WorkflowSettings]) -> None:
        """These are the present ones from now on."""
        self._present = frozenset(version_role(slug, version_of(each.to_json())) for slug, each in workflows.items())

    @contextmanager
    def under_way(self, spec: RunSpec) -> Generator[None]:
        """While a run is executed."""
        role = version_role(spec.workflow, spec.version)
        if role not in self._runs:
            self._settings[role] = spec.settings
        self._runs[role] = self._runs.get(role, 0) + 1
        if self._runs[role] == 1 and role not in self._present:
            self._on_change()
        try:
            yield
        finally:
            self._runs[role] -= 1
            if not self._runs[role]:
                # What was granted to it is taken back with the next change; nobody acts in this role until then.
                del self._runs[role], self._settings[role]

    def grants(self, workflows: Mapping[str, WorkflowSettings]) -> dict[str, tuple[str, ...]]:
        """What roles of versions under way are granted, beside those that are the present ones with `workflows`."""
        present = {version_role(slug, version_of(each.to_json())) for slug, each in workflows.items()}
        return {role: _targets(settings) for role, settings in self._settings.items() if role not in present}


def _targets(settings: JsonObject) -> tuple[str, ...]:
    try:
        return tuple(sorted(WorkflowSettings.model_validate(settings).targets))
    except ValidationError:
        # Written by a version of the gateway that knew other settings: its steps are denied, and say so.
        return ()
