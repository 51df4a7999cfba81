"""What becomes of a client's mcp.json when its servers are taken over."""

import yaml

from gateway.cli.mcp_json import adopt_servers
from gateway.cli.scaffold import configuration_text, subject_from
from gateway.core.json import JsonObject

FOLDER = ".drawbridge/keys"


def adopt(**servers: JsonObject) -> JsonObject:
    return {"mcpServers": dict(servers)}


def test_commands_and_addresses_become_servers() -> None:
    files: JsonObject = {"command": "npx", "args": ["-y", "files", "."], "cwd": "/srv"}
    docs: JsonObject = {"type": "http", "url": "https://docs.example.com/mcp", "headers": {"X-Team": "shop"}}
    adopted = adopt_servers(adopt(files=files, docs=docs), FOLDER)
    assert adopted.servers == {
        "files": {"command": ["npx", "-y", "files", "."], "cwd": "/srv"},
        "docs": {"url": "https://docs.example.com/mcp", "headers": {"X-Team": "shop"}},
    }
    assert (adopted.secrets, adopted.notes) == ({}, [])


def test_a_secret_in_clear_moves_into_a_file() -> None:
    adopted = adopt_servers(
        adopt(git={"command": "git-mcp", "env": {"GIT_TOKEN": "t0ps3cret", "LEVEL": "info"}}), FOLDER
    )
    assert adopted.servers["git"]["env"] == {
        "GIT_TOKEN": "file:.drawbridge/keys/git-git-token.secret",
        "LEVEL": "info",
    }
    assert adopted.secrets == {"git-git-token.secret": "t0ps3cret"}


def test_variables_become_references_and_parts_of_values_are_asked_for() -> None:
    entry: JsonObject = {
        "url": "https://x/mcp",
        "headers": {"X-Key": "${env:X_KEY}", "Authorization": "Bearer ${TOKEN}"},
    }
    adopted = adopt_servers(adopt(x=entry), FOLDER)
    assert adopted.servers["x"]["headers"] == {"X-Key": "env:X_KEY", "Authorization": "env:DRAWBRIDGE_X_AUTHORIZATION"}
    assert len(adopted.notes) == 1
    assert "DRAWBRIDGE_X_AUTHORIZATION" in adopted.notes[0]


def test_what_cannot_be_taken_over_is_named() -> None:
    adopted = adopt_servers(
        adopt(old={"type": "sse", "url": "http://x"}, off={"command": "x", "disabled": True}, odd={}), FOLDER
    )
    assert adopted.servers == {}
    assert [note.partition(" ")[0] for note in adopted.notes] == ["old", "off", "odd"]


def test_names_become_distinct_slugs() -> None:
    named: JsonObject = {"command": "x"}
    document: JsonObject = {
        "servers": {"My Server!": named, "my_server": named, "api": named, "\u65e5\u672c": named, "x" * 40: named}
    }
    slugs = list(adopt_servers(document, FOLDER).servers)
    assert slugs == ["my-server", "my-server-2", "api-server", "server", "x" * 24]


def test_the_first_configuration_reads_as_yaml_with_its_owner() -> None:
    text = configuration_text(
        owner="ana", key="file:.drawbridge/keys/ana.key", servers={"files": {"command": ["npx"]}}, schema="s.json"
    )
    assert text.startswith("# yaml-language-server: $schema=s.json\n")
    assert yaml.safe_load(text) == {
        "servers": {"files": {"command": ["npx"]}},
        "roles": {"owner": {"allow": ["*"]}},
        "principals": {"ana": {"roles": ["owner"], "key": "file:.drawbridge/keys/ana.key"}},
    }


def test_a_login_becomes_a_subject() -> None:
    assert [subject_from(name) for name in ("Ana Lopez", "DOMAIN\\bo", "...", "\u65e5\u672c")] == [
        "ana-lopez",
        "domain-bo",
        "owner",
        "owner",
    ]
