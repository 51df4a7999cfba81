"""What `check` says of the section `oauth`, and of servers at which people have accounts."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app.sections import load_configuration

LOGIN = {"client_id": "drawbridge", "client_secret": "env:A"}
AUTH = {"kind": "user", "issuer": "https://login.test"}


def warnings_of(folder: Path, **sections: Any) -> list[str]:
    path = folder / "gateway.yaml"
    crm = {"url": "https://crm.test/mcp", "auth": AUTH, "tenant": "acme"}
    path.write_text(json.dumps({"servers": {"crm": crm}, "roles": {"support": {"allow": ["tool:crm/*"]}}, **sections}))
    return [problem.message for problem in load_configuration(path).warnings if "links" in problem.message]


def issuers(**each: dict[str, Any]) -> dict[str, Any]:
    return {"issuers": {name: {"url": f"https://{name}.test", "tenant": "acme", **said} for name, said in each.items()}}


def keyed(**more: Any) -> dict[str, Any]:
    return {"keyed": {"roles": ["support"], "tenant": "acme", "key": "env:K", **more}}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"oauth": issuers(corp={}, bolt={"login": LOGIN})}, ["the people of corp"]),
        ({"oauth": issuers(corp={"login": LOGIN}), "principals": keyed()}, ["keyed"]),
        ({"principals": keyed()}, ["keyed"]),
    ],
    ids=["an issuer without a login", "a key beside a login", "only keys"],
)
def test_whose_links_nobody_checks_is_told(tmp_path: Path, sections: dict[str, Any], named: list[str]) -> None:
    (said,) = warnings_of(tmp_path, **sections)

    assert said.startswith(f"{', '.join(named)} connect accounts by links nobody checks")


@pytest.mark.parametrize(
    "sections",
    [
        {"oauth": issuers(corp={"login": LOGIN})},
        {"oauth": issuers(corp={"login": LOGIN}), "principals": keyed(tenant="other")},
        {"oauth": issuers(corp={"login": LOGIN}), "principals": keyed(roles=[])},
        {"oauth": issuers(corp={}), "servers": {"crm": {"url": "https://crm.test/mcp"}}},
    ],
    ids=["a login", "another tenant", "may call nothing", "no accounts"],
)
def test_where_everybody_logs_in_or_nobody_has_an_account_nothing_is_said(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    assert warnings_of(tmp_path, **sections) == []
