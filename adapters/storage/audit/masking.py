"""What must not reach the disk: values under telling names, and values that look like credentials. Pure.

A net under the wire, not a promise: it knows names and well-known shapes, no more. Free text is searched for
`name: value` pairs too, because tools like to answer with JSON inside a text. The searches are gated by plain
substring tests, since almost no text holds any of the words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from gateway.core.json import Json, JsonObject

MASK = "***"

_WITHIN = ("password", "passwd", "passphrase", "secret", "apikey", "authorization", "credential", "privatekey")
"""A name with one of these anywhere in it is masked: `userPassword`, `client_secret_value`."""
_AT_THE_END = ("token", "pwd", "cookie", "accesskey", "signingkey", "encryptionkey", "jwt", "cvv", "cvc", "otp")
"""A name that ends so is masked: `accessToken` is, `max_tokens` is not."""
_TEXT_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|api[-_ ]?key|authorization|credentials?|private[-_ ]?key|cookie"
)
_TEXT_GATE = ("passw", "passphrase", "pwd", "secret", "token", "key", "authorization", "credential", "cookie")
_PREFIXES = (
    *("sk-", "sk_", "rk_live_", "pk_live_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *(
        "xoxb-",
        "xoxp-",
        "xoxa-",
        "xoxe-",
        "xapp-",
        "AKIA",
        "ASIA",
        "AIza",
        "ya29.",
        "eyJ",
        "npm_",
        "pypi-",
        "hf_",
        "SG.",
    ),
    *("dop_v1_", "shpat_", "gsk_", "dbk_", "dapi", "AGE-SECRET-KEY-", "hvs."),
)
_AUTH_SCHEMES = re.compile(r"(?i)\b(bearer|basic)\s{1,8}[A-Za-z0-9._~+/=-]{8,}")
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_URL_PASSWORD = re.compile(r"(://[^\s/:@]{0,256}):[^\s/@]{1,256}@")
_DEEPEST = 64
_KNOWN_NAMES = 4096


class Masker:
    """Masks JSON values and texts; its answers depend on nothing but its arguments."""

    def __init__(self, names: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        names = tuple(name for name in names if _normal(name))
        extra = tuple(_normal(name) for name in names)
        self._at_the_end = (*_AT_THE_END, *extra)
        self._prefixes = (*_PREFIXES, *filter(None, prefixes))
        starts = "|".join(re.escape(each) for each in self._prefixes)
        self._credential = re.compile(rf"(?<![A-Za-z0-9])(?:{starts})[A-Za-z0-9._~+/=-]{{8,}}")
        spelled = "".join(rf"|{re.escape(name)}" for name in names)
        self._gate = (*_TEXT_GATE, *(name.lower() for name in names))
        self._pair = re.compile(
            rf"(?i)((?:{_TEXT_NAMES}{spelled})\\?[\"']?\s{{0,8}}[:=]\s{{0,8}})"
            r"(\"[^\"]{1,4096}\"?|'[^']{1,4096}'?|\\\"[^\"]{1,4096}\"?|[^\s\"',;&}\]\\]{1,4096})"
        )
        self._known: dict[str, bool] = {}

    def names(self, name: str) -> bool:
        """Whether values under this name are masked."""
        known = self._known.get(name)
        if known is None:
            normal = _normal(name)
            known = normal.endswith(self._at_the_end) or any(each in normal for each in _WITHIN)
            # Names come from callers: what is remembered of them is bounded.
            if len(self._known) >= _KNOWN_NAMES:
                self._known.clear()
            self._known[name] = known
        return known

    def text(self, text: str) -> str:
        """The text with everything that looks like a credential replaced."""
        if len(text) < 4:
            return text
        for each in self._prefixes:
            if each in text:
                text = self._credential.sub(MASK, text)
                break
        if "PRIVATE KEY" in text:
            text = _PEM.sub(MASK, text)
        if "://" in text and "@" in text:
            text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
        low = text.lower()
        if "bearer " in low or "basic " in low:
            text = _AUTH_SCHEMES.sub(rf"\1 {MASK}", text)
        if (":" in text or "=" in text) and any(each in low for each in self._gate):
            text = self._pair.sub(_masked_pair, text)
        return text

    def value(self, value: object, depth: int = 0) -> Json:
        """The same JSON, masked. What is no JSON becomes its type's name, what is nested too deeply a mask."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _DEEPEST:
            return MASK
        if isinstance(value, Mapping):
            return self.object(cast("Mapping[str, object]", value), depth)
        if isinstance(value, list | tuple):
            return [self.value(each, depth + 1) for each in cast("Sequence[object]", value)]
        return type(value).__name__

    def object(self, value: Mapping[str, object], depth: int = 0) -> JsonObject:
        """See `value`; an empty value under a telling name is shown, for it tells that nothing was there."""
        masked: JsonObject = {}
        for name, each in value.items():
            hidden = self.names(name) and each not in ("", None)
            masked[name] = MASK if hidden else self.value(each, depth + 1)
        return masked


def _masked_pair(found: re.Match[str]) -> str:
    said = found[2]
    opening = said[: len(said) - len(said.lstrip("\\\"'"))]
    closing = said[len(said.rstrip("\\\"'")) :] if opening else ""
    return f"{found[1]}{opening}{MASK}{closing}"


def _normal(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
