"""MCP servers from the configuration, as upstreams."""

from collections.abc import Callable

from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.settings import ServerSettings


def server_upstream(
    slug: str, settings: ServerSettings, parts: ServerParts, on_changed: Callable[[], None] = lambda: None
) -> McpHttpUpstream | McpCallersUpstream | McpStdioUpstream:
    """The upstream for one server; nothing is opened or started before it is first asked.

    `on_changed` is told when the server says that its lists changed. Raises: InvalidRequest: the URL cannot be used.
    """
    if settings.command:
        return McpStdioUpstream(slug, settings, parts, on_changed)
    tokens = parts.tokens(slug, settings)
    if settings.auth is None or tokens is None:
        return McpHttpUpstream(slug, settings, parts, on_changed)
    if not settings.auth.personal:
        return McpHttpUpstream(slug, settings, parts, on_changed, tokens.own)
    return McpCallersUpstream(slug, settings, parts, on_changed, tokens)
