"""How a URI can hide where it leads."""

from urllib.parse import unquote


def is_plain(uri: str) -> bool:
    """Whether the URI names what its text says: no dot segments, however often they are escaped."""
    previous = ""
    while previous != uri:
        if any(segment in (".", "..") for segment in uri.replace("\\", "/").split("/")):
            return False
        previous, uri = uri, unquote(uri)
    return "\0" not in uri
