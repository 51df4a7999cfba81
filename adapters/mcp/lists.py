"""Answers to `tools/list` and its siblings: whole pages as bytes, made once and kept while they hold."""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.mcp.refusals import INVALID_PARAMS, RpcRefusal
from adapters.mcp.views import ListKind, View
from adapters.mcp.wire import Era, encode
from gateway.core.json import Json, JsonObject
from gateway.core.model import AgentClass

PAGES_BYTES = 32 * 1024 * 1024
"""Rendered pages kept at once; beyond that the least recently used go."""
TTL_MS = 15_000
"""For how long clients may keep a list; a change is announced sooner to those who listen."""
TTL_WITH_GAPS_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _To:
    """What of a client makes a difference to what it is shown."""

    era: Era
    able: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Every page of one list. The bytes are a JSON object without its closing brace."""

    view: View
    first: bytes
    after: Mapping[str, bytes]
    """By cursor."""
    size_bytes: int


class Lists:
    """Rendered lists, and the cursors that lead through them."""

    def __init__(self, *, page_size: int) -> None:
        self._page_size = page_size
        self._pages: OrderedDict[tuple[AgentClass, str, ListKind, _To], Pages] = OrderedDict()
        self._size_bytes = 0

    def page(
        self,
        agent_class: AgentClass,
        view: View,
        kind: ListKind,
        *,
        cursor: str | None,
        gaps: Mapping[str, str],
        era: Era,
        able: frozenset[str] = frozenset(),
    ) -> bytes:
        """The result of a list request of a client with these abilities.

        Raises: RpcRefusal: no such cursor, or no longer.
        """
        to = _To(era=era, able=view.relevant(able) if kind == "tools" else frozenset())
        pages = self._rendered(agent_class, view, kind, to)
        page = pages.first if cursor is None else pages.after.get(cursor)
        if page is None:
            raise RpcRefusal(INVALID_PARAMS, "the cursor is unknown or the list has changed: start again without one")
        missing = {owner: f"{gaps[owner]}; {said}" if owner in gaps else said for owner, said in view.conflicts.items()}
        return page + _ending(era, {**gaps, **missing})

    def forget(self, view: View) -> None:
        """Let go of what was rendered from a view."""
        for key in [key for key, pages in self._pages.items() if pages.view is view]:
            self._size_bytes -= self._pages.pop(key).size_bytes

    def _rendered(self, agent_class: AgentClass, view: View, kind: ListKind, to: _To) -> Pages:
        key = (agent_class, view.scope, kind, to)
        pages = self._pages.get(key)
        if pages is not None and pages.view is view:
            self._pages.move_to_end(key)
            return pages
        if pages is not None:
            self._size_bytes -= self._pages.pop(key).size_bytes
        pages = self._pages[key] = self._render(agent_class, view, kind, to)
        self._size_bytes += pages.size_bytes
        while self._size_bytes > PAGES_BYTES and len(self._pages) > 1:
            self._size_bytes -= self._pages.popitem(last=False)[1].size_bytes
        return pages

    def _render(self, agent_class: AgentClass, view: View, kind: ListKind, to: _To) -> Pages:
        definitions = view.shown(kind, to.era, to.able)
        starts = range(0, max(1, len(definitions)), self._page_size)
        whole = hashlib.blake2b(b"\n".join(definitions)).digest()
        cursors = {start: _cursor(agent_class, view, kind, start, whole) for start in starts[1:]}
        rendered: dict[str, bytes] = {}
        for start in starts:
            body = b'{"%b":[%b]' % (kind.encode(), b",".join(definitions[start : start + self._page_size]))
            following = cursors.get(start + self._page_size)
            rendered[cursors.get(start, "")] = (
                body if following is None else body + b',"nextCursor":' + encode(following)
            )
        first = rendered.pop("")
        size = len(first) + sum(len(page) for page in rendered.values())
        return Pages(view=view, first=first, after=rendered, size_bytes=size)


def _cursor(agent_class: AgentClass, view: View, kind: ListKind, start: int, whole: bytes) -> str:
    """Says nothing, and is the same wherever this very list is rendered: page two may be asked of another gateway.

    It needs no secret: it leads nowhere but through what its caller's class sees.
    """
    roles = [sorted(agent_class.roles), *(sorted(each) for each in agent_class.behind)]
    what = encode([agent_class.tenant, agent_class.kind, roles, view.scope, kind, start])
    return base64.urlsafe_b64encode(hashlib.blake2b(what + whole, digest_size=18).digest()).decode()


def _ending(era: Era, gaps: Mapping[str, str]) -> bytes:
    named: dict[str, Json] = dict(gaps)
    meta: JsonObject = {"drawbridge/gaps": named} if named else {}
    if era == "legacy":
        return b',"_meta":%b}' % encode(meta) if meta else b"}"
    ttl_ms = TTL_WITH_GAPS_MS if named else TTL_MS
    fresh = b',"resultType":"complete","ttlMs":%d,"cacheScope":"private"' % ttl_ms
    return fresh + (b',"_meta":%b}' % encode(meta) if meta else b"}")
