"""The section `sets` of the configuration: servers that are not there, made of chosen tools of those that are."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from gateway.core.model import DEFAULT_TENANT
from gateway.core.slugs import SLUG

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TARGET = re.compile(rf"{SLUG}/.+")
SEARCH_TOOLS = frozenset({"search", "describe", "call"})
"""What stands in place of a set's tools where it is searched."""


class ArgumentChoice(BaseModel):
    """What a set makes of one argument of a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: JsonValue = None
    """Always sent, never shown: callers neither see the argument nor may give it. `null` is a value."""
    hidden: bool = False
    """Neither shown nor sent; for optional arguments."""
    description: str = ""
    """Told in place of the server's own."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> "ArgumentChoice":
        if self.fixed and self.hidden:
            raise ValueError("an argument with a value is hidden anyway; leave out `hidden`")
        if (self.fixed or self.hidden) and self.description:
            raise ValueError("nobody sees the description of an argument that is not shown")
        return self

    @property
    def fixed(self) -> bool:
        """Whether it has a value, which may be null."""
        return "value" in self.model_fields_set


class ToolChoice(BaseModel):
    """One tool of a set: exactly one of `tool`, `agent` and `workflow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = ""
    """SERVER/TOOL, under which it is judged and recorded."""
    agent: str = ""
    """Or the slug of an agent."""
    workflow: str = ""
    """Or that of a workflow."""
    title: str = ""
    """In place of its own."""
    description: str = ""
    """In place of its own."""
    arguments: dict[str, ArgumentChoice] = Field(default_factory=dict[str, ArgumentChoice])
    """By name: those that are fixed, hidden or told otherwise."""

    @model_validator(mode="after")
    def _names_one(self) -> "ToolChoice":
        if sum(map(bool, (self.tool, self.agent, self.workflow))) != 1:
            raise ValueError("give exactly one of tool (SERVER/TOOL), agent and workflow")
        if self.tool and not _TARGET.fullmatch(self.tool):
            raise ValueError("write the server and the tool: SERVER/TOOL")
        return self

    @property
    def capability(self) -> str:
        """Its gateway-wide name."""
        if self.tool:
            return f"tool:{self.tool}"
        return f"agent:{self.agent}" if self.agent else f"workflow:{self.workflow}"


class PromptChoice(BaseModel):
    """One prompt of a set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    """SERVER/PROMPT, under which it is judged and recorded."""
    title: str = ""
    """In place of its own."""
    description: str = ""
    """In place of its own."""
    arguments: dict[str, str] = Field(default_factory=dict[str, str])
    """Arguments that are always sent with these values, and never shown."""

    @field_validator("prompt")
    @classmethod
    def _names_one(cls, value: str) -> str:
        if not _TARGET.fullmatch(value):
            raise ValueError("write the server and the prompt: SERVER/PROMPT")
        return value

    @property
    def capability(self) -> str:
        """Its gateway-wide name."""
        return f"prompt:{self.prompt}"


Names = Annotated[tuple[str, ...], Field(max_length=1000)]


class SetSettings(BaseModel):
    """A virtual server at `/mcp/sets/NAME`. What it offers is judged and recorded under its real name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instructions: str = ""
    """What clients are told of the set as a whole."""
    tenant: str = DEFAULT_TENANT
    """Whose it is; `*` for every tenant's."""
    include: Names = ()
    """Patterns over names, such as `tool:orders/*`, `prompt:docs/*` and `resource:docs/*`: offered as at `/mcp`.
    Without this, `tools` and `prompts` the set is of everything its caller may use."""
    tools: dict[str, ToolChoice] = Field(default_factory=dict[str, ToolChoice])
    """Single tools, each under a name of its own."""
    prompts: dict[str, PromptChoice] = Field(default_factory=dict[str, PromptChoice])
    """Single prompts, each under a name of its own."""
    search: bool = False
    """In place of all its tools the set has three: search, describe and call."""
    engine: str = "text"
    """What finds tools: `text` by their words; another is a plug-in's, by vectors for example."""
    options: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """For plug-ins."""

    @model_validator(mode="after")
    def _has_legal_names(self) -> "SetSettings":
        for name in (*self.tools, *self.prompts):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name models can use: letters, digits, `_` and `-`, at most 64")
        if self.search and (taken := SEARCH_TOOLS & self.tools.keys()):
            raise ValueError(f"{', '.join(sorted(taken))}: a set that is searched has tools of that name")
        return self

    @property
    def everything(self) -> bool:
        """Whether nothing in particular was chosen."""
        return not (self.include or self.tools or self.prompts)
