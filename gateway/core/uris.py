"""How a URI can hide where it leads."""

import re
from urllib.parse import unquote

_ESCAPED = re.compile(r"%(?:2[DE]|3\d|[46][1-9A-F]|[57][\dA]|5F|7E)", re.IGNORECASE)
"""Characters that mean the same unescaped (RFC 3986, 2.3)."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z\d+.-]*:")


def is_plain(uri: str) -> bool:
    """Whether the URI names what its text says: in the one spelling of all that mean the same (RFC 3986, 6.2.2), so
    that a rule about one of them cannot be gone around by another; without dot segments, however often escaped."""
    scheme = _SCHEME.match(uri)
    if scheme is not None and not scheme[0].islower():
        return False
    if uri != uri.strip() or not uri.isprintable() or "\\" in uri or not _is_plain_file(uri):
        return False
    previous = ""
    while previous != uri:
        if any(segment in (".", "..") for segment in uri.replace("\\", "/").split("/")) or _ESCAPED.search(uri):
            return False
        previous, uri = uri, unquote(uri)
    return "\0" not in uri


def _is_plain_file(uri: str) -> bool:
    """RFC 8089: no host where it is this one, and nothing beside the path; no slash that means nothing."""
    if not uri.startswith("file:"):
        return True
    own = uri.startswith("file://") and not uri.startswith("file://localhost/")
    return own and "//" not in uri[len("file://") :] and "?" not in uri and "#" not in uri
