"""Files to configurations: defaults, every error at once, and nothing of a secret in any of them."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from gateway.config.load import Configuration, load, parse
from gateway.config.problems import ConfigurationError, Problem, closest
from gateway.config.validate import is_secret
from gateway.core.limits import Limits


def reference(value: str) -> str:
    if not value.startswith("env:"):
        raise ValueError(f"{value} is no reference")
    return value


class ToolPart(BaseModel):
    model_config = ConfigDict(frozen=True)  # does not forbid unknown keys by itself

    tags: tuple[str, ...] = ()
    timeout_s: Annotated[float, Field(gt=0)] | None = None


class ServerPart(BaseModel):
    """A server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Where it is."""
    tools: dict[str, ToolPart] = Field(default_factory=dict[str, ToolPart])
    trust: Literal["trusted", "untrusted"] = "untrusted"
    delegation: bool | Literal["required"] = False
    key: Annotated[str, AfterValidator(reference)] = "env:X"
    api_token: int = 0
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    cost: Decimal = Decimal(0)
    pair: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPart:
    """No model, and still closed."""

    depth: int = 4
    """How deep."""
    names: list[str] = field(default_factory=list[str])


SECTIONS = {"servers": dict[str, ServerPart], "limits": Limits, "plain": TypeAdapter(PlainPart)}


def wrong(text: str) -> list[tuple[int, int, str, str]]:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, SECTIONS)
    return [(p.line, p.column, p.path, p.suggestion) for p in refused.value.problems]


def only(text: str) -> Problem:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, SECTIONS)
    (problem,) = refused.value.problems
    return problem


def test_an_empty_file_has_every_section_with_its_defaults() -> None:
    configuration = parse("", SECTIONS)

    assert configuration.sections == {"servers": {}, "limits": Limits(), "plain": PlainPart()}
    assert configuration.section("limits", Limits) == Limits()
    assert configuration.warnings == ()


def test_a_section_without_content_counts_as_empty() -> None:
    assert parse("servers:\nlimits:\n", SECTIONS).sections["servers"] == {}


def test_sections_become_their_types(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"\xef\xbb\xbfservers:\n  orders:\n    url: http://x\nlimits: {depth: 2}\n")

    configuration = load(file, SECTIONS)

    assert configuration.sections["servers"] == {"orders": ServerPart(url="http://x")}
    assert configuration.sections["limits"] == Limits(depth=2)
    assert configuration.source == file
    assert configuration.line_of("servers.orders.url") == 3


def test_the_version_changes_with_the_file_and_only_with_it() -> None:
    assert parse("limits: {depth: 2}", SECTIONS).digest == parse("limits: {depth: 2}", SECTIONS).digest
    assert parse("limits: {depth: 2}", SECTIONS).digest != parse("limits: {depth: 3}", SECTIONS).digest


def test_every_error_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
servers:
  orders:
    ulr: http://x
    tools: {refund: {tgas: [a]}}
  mail: {url: 5, trust: trustd}
limits: {depht: 3}
plain: {dept: 1, names: [1]}
servrs: {}
servers: {}
"""

    assert wrong(text) == [
        (2, 3, "servers.orders.url", ""),
        (3, 5, "servers.orders.ulr", "url"),
        (4, 22, "servers.orders.tools.refund.tgas", "tags"),
        (5, 15, "servers.mail.url", ""),
        (5, 25, "servers.mail.trust", "trusted"),
        (6, 10, "limits.depht", "depth"),
        (7, 9, "plain.dept", "depth"),
        (7, 26, "plain.names[0]", ""),
        (8, 1, "servrs", "servers"),
        (9, 1, "servers", ""),
    ]


def test_an_error_reads_as_file_place_path_and_advice() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse("servers: {a: {url: x, trust: trustd}}", SECTIONS, source=Path("g.yaml"))

    assert str(refused.value) == (
        "the configuration has 1 error\n"
        "  g.yaml:1:30: servers.a.trust: 'trustd' is not possible here; must be 'trusted' or 'untrusted' "
        "(did you mean 'trusted'?)"
    )
    assert refused.value.detail["problems"] == [
        {
            "severity": "error",
            "message": "'trustd' is not possible here",
            "path": "servers.a.trust",
            "file": "g.yaml",
            "line": 1,
            "column": 30,
            "expected": "must be 'trusted' or 'untrusted'",
            "suggestion": "trusted",
        }
    ]


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        ("servers: {a: {url: x, delegation: sure}}", "'sure' is", "expected true or false or must be 'required'"),
        ("servers: {a: }", "has no value", "expected a mapping"),
        ("servers: {a: x}", "'x' is", "expected a mapping"),
        ("servers: [a]", "a list is", "expected a mapping"),
        ("servers: {a: {url: {b: c}}}", "a mapping is", "expected text"),
        ("servers: {a: {url: x, tools: {t: {tags: read}}}}", "'read' is", "expected a list"),
        ("servers: {a: {url: x, tools: {t: {timeout_s: 0}}}}", "0 is", "must be greater than 0.0"),
        ("servers: {a: {url: x, trust: true}}", "true is", "must be 'trusted'"),
        ("servers: {a: {url: x, cost: much}}", "'much' is", "expected a number"),
        ("servers: {a: {url: x, pair: [1]}}", "`1` is missing", ""),
        ("servers: {a: {}}", "`url` is missing", ""),
        ("limits: {depth: deep}", "'deep' is", "expected a whole number"),
        ("limits: {zzz: 1}", "unknown key", "known here: body_bytes"),
        ("limits: {depth: " + "x" * 90 + "}", "x" * 50, "expected a whole number"),
        ("nothing: {}", "unknown section", "there are limits, plain, servers"),
        ("[]", "not a mapping", ""),
        ("a: [", "expected the node content", ""),
    ],
)
def test_what_is_wrong_and_what_would_be_right(text: str, message: str, expected: str) -> None:
    problem = only(text)

    assert message in problem.message
    assert expected in problem.expected


def test_the_place_inside_a_text_is_told_where_the_type_knows_it() -> None:
    # `policies.access` gives the offset; any type may.
    from_type = TypeAdapter(Annotated[str, AfterValidator(_third_character_is_wrong)])
    with pytest.raises(ConfigurationError) as refused:
        parse('a: "xyz"\n', {"a": from_type})

    (problem,) = refused.value.problems
    assert problem.column == 4 + 1 + 2


def _third_character_is_wrong(value: str) -> str:
    raise PydanticCustomError("third", "{wrong}", {"wrong": "bad third", "offset": 2})


@pytest.mark.parametrize(
    "text",
    [
        "servers: {a: {url: x, key: hunter2hunter2}}",
        "servers: {a: {url: x, api_token: hunter2hunter2}}",
        "servers: {a: {url: x, headers: {X-Any: [hunter2hunter2]}}}",
    ],
)
def test_a_secret_is_never_shown_and_a_reference_is_advised(text: str) -> None:
    problem = only(text)

    assert "hunter2" not in str(problem)
    assert "hunter2" not in str(problem.to_json())
    if "key" in text:
        assert "env:NAME" in problem.expected


def test_a_mapping_of_secrets_is_not_quoted_by_its_own_validator() -> None:
    def refuses(values: dict[str, list[str]]) -> dict[str, list[str]]:
        raise ValueError(f"cannot use {values['X'][0]}")

    def advises(values: dict[str, str]) -> dict[str, str]:
        raise ValueError("X: write env:NAME")

    quoting = TypeAdapter(Annotated[dict[str, list[str]], AfterValidator(refuses)])
    advising = TypeAdapter(Annotated[dict[str, str], AfterValidator(advises)])
    with pytest.raises(ConfigurationError) as refused:
        parse("headers: {X: [hunter2, ~]}\nenv: {X: hunter2}", {"headers": quoting, "env": advising})

    assert "hunter2" not in str(refused.value)
    assert [problem.message for problem in refused.value.problems] == [
        "is not what is expected here",
        "X: write env:NAME",
    ]
    with pytest.raises(ConfigurationError) as refused:
        parse("headers: {X: [hunter2, x]}", {"headers": quoting})

    assert "hunter2" not in str(refused.value)
    assert refused.value.problems[0].expected.startswith("write a reference")


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("principals.ana.key", True),
        ("servers.x.headers.Accept", True),
        ('servers.x.headers["X-Y"]', True),
        ("servers.x.env.HOME", True),
        ("a.api_key", True),
        ("a.access-token", True),
        ("a.keys[0]", True),
        ("servers.x.headers", True),
        ("principals.ana.kind", False),
        ("a.monkey", False),
    ],
)
def test_what_looks_like_a_secret(path: str, secret: bool) -> None:
    assert is_secret(path) is secret


def test_keys_of_ones_own_are_not_looked_at() -> None:
    assert parse("x-mine: {any: [thing]}\nlimits: {}\n", SECTIONS).sections["limits"] == Limits()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"a: \xff\n", "UTF-8"), (b"#" * (1024 * 1024 + 1), "larger than")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "gateway.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        load(file, SECTIONS)

    assert says in str(refused.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, SECTIONS)

    assert "cannot be read" in str(refused.value)


def test_checks_run_when_the_sections_are_right_and_may_warn_or_refuse() -> None:
    def warns(configuration: Configuration) -> list[Problem]:
        return [configuration.problem("limits.depth", "is unusual", severity="warning")]

    def refuses(configuration: Configuration) -> list[Problem]:
        return [configuration.problem("limits.depth", "x", name="oders", known=["orders", "mail"])]

    warned = parse("limits:\n  depth: 2\n", SECTIONS, checks=[warns])
    assert [(p.line, p.column, p.file) for p in warned.warnings] == [(2, 3, "gateway.yaml")]
    assert str(warned.warnings[0]).endswith("[warning]")
    with pytest.raises(ConfigurationError) as refused:
        parse("limits:\n  depth: 2\n", SECTIONS, checks=[warns, refuses])
    assert [(p.severity, p.column, p.suggestion) for p in refused.value.problems] == [
        ("warning", 3, ""),
        ("error", 10, "orders"),
    ]


def test_names_are_listed_where_none_is_close() -> None:
    configuration = parse("limits:\n  depth: 2\n", SECTIONS)

    problem = configuration.problem("limits.depth", "x", name="q", known=["orders", "mail"])

    assert problem.expected == "there are orders, mail"


def test_the_closest_name_is_found_whatever_its_case() -> None:
    assert closest("URL", ["url", "cwd"]) == "url"
    assert closest("", ["url"]) == ""
    assert closest("zzz", ["url"]) == ""
