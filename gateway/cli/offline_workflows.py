"""What is wrong with workflows beyond the form of their settings: each is set up as a gateway would, and not run."""

from collections.abc import Iterator

from gateway.app.sections import Sections
from gateway.config.document import child
from gateway.config.problems import Problem
from gateway.core.errors import InvalidRequest
from gateway.core.json import json_list, json_text
from gateway.core.ports.orchestration import PatternType
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.doubts import doubts
from gateway.orchestration.settings.nesting import with_depth
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns, offered


def workflows_that_fail(sections: Sections) -> Iterator[Problem]:
    """Everything that keeps a gateway from starting, and doubts about the rest as warnings."""
    configuration, patterns = sections.configuration, offered()
    loaded: dict[str, PatternType] = {}
    right: dict[str, WorkflowSettings] = {}
    for slug, settings in sections.workflows.items():
        name = settings.pattern
        if name not in patterns:
            path = child(child("workflows", slug), "pattern")
            yield configuration.problem(path, f"there is no pattern {name!r}", name=name, known=patterns)
            continue
        try:
            loaded |= load_patterns({name})
            check(loaded, {slug: settings})
        except InvalidRequest as error:
            yield _problem(sections, slug, error)
        else:
            right[slug] = settings
    try:
        with_depth(right)
    except InvalidRequest as error:
        yield _problem(sections, "", error)
    for slug, doubt in doubts(loaded, right):
        yield configuration.problem(child("workflows", slug), doubt, severity="warning")


def _problem(sections: Sections, slug: str, error: InvalidRequest) -> Problem:
    """At the setting it is about, as far as it says so."""
    named = [part if isinstance(part, int) else json_text(part) for part in json_list(error.detail.get("path"))]
    if named[:1] != ["workflows"]:
        # A pattern knows its own settings, and not where they stand.
        named = ["workflows", slug, *named]
    if setting := json_text(error.detail.get("setting")):
        named.append(setting)
    path = ""
    for part in named:
        path = child(path, part)
    return sections.configuration.problem(path, error.message.removeprefix(f"workflow {slug}: "))
