"""What recent runs of a router say of their routes, read through the REST API."""

from collections.abc import Iterator

from gateway.cli.remote import Remote
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.patterns.router.evaluation import recent


def recent_routes(remote: Remote, workflow: str, limit: int) -> JsonObject:
    """Who decided in the newest runs of the workflow, how sure they were, and whether that falls."""
    return recent([*_routes(remote, workflow, limit)])


def _routes(remote: Remote, workflow: str, limit: int) -> Iterator[JsonObject]:
    listed = json_list(remote.get("runs", query={"workflow": workflow, "limit": limit}).get("runs"))
    for each in listed:
        run = json_object(remote.get("runs", json_text(json_object(each).get("id"))).get("run"))
        content = json_object(json_object(run.get("output")).get("content"))
        why = json_object(json_object(content.get("structured")).get("why"))
        if route := json_object(why.get("route")):
            yield route
