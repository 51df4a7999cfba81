"""A key for one MCP client: who it is for, who mints it, where the stdio relay finds it."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.identity.apikeys import KeyGrant
from gateway.cli.failure import USAGE, Failure
from gateway.cli.files import write_private
from gateway.cli.offline_keys import mint_offline
from gateway.cli.options import Place
from gateway.cli.place_contents import client_key_file, sections_of
from gateway.cli.remote import Remote
from gateway.core.json import json_object, json_text
from gateway.core.model import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A fresh key."""

    id: str
    subject: str
    secret: str


def mint_for_client(place: Place, remote: Remote | None, client: str, as_whom: str) -> Minted:
    """A key for the principal: through the running gateway, or into its files where none runs.

    It carries no roles of its own: its subject has those the configuration gives, now and later.
    """
    sections = sections_of(place)
    subject = chosen(sections.known_principals(), as_whom)
    remark = f"connect {client}"
    if remote is None:
        minted = mint_offline(place.data, sections, KeyGrant(subject=subject, note=remark))
        return Minted(id=minted.stored.id, subject=subject, secret=minted.key.reveal())
    said = remote.post("keys", body={"subject": subject, "kind": "client", "note": remark})
    key_id = json_text(json_object(said.get("key")).get("id"))
    return Minted(id=key_id, subject=subject, secret=json_text(said.get("secret")))


def keep_for_relay(place: Place, client: str, minted: Minted) -> None:
    """Put the key where `drawbridge mcp --client` looks for it."""
    write_private(client_key_file(place, client), minted.secret + "\n")


def chosen(known: Sequence[Principal], as_whom: str) -> str:
    """The subject named `as_whom`, or the only one there is.

    Raises: Failure: there is none of that name, or nothing says which of several.
    """
    candidates = sorted(who.subject for who in known if who.kind == "client")
    listing = f"There are: {', '.join(candidates) or 'none'}."
    if as_whom and as_whom not in candidates:
        raise Failure(f"there is no principal {as_whom}", listing, code=USAGE)
    if as_whom:
        return as_whom
    if not candidates:
        raise Failure("the configuration names no principal", "Add one under `principals`.", code=USAGE)
    if len(candidates) > 1:
        raise Failure("which principal is the client to act as?", f"Say it with --as. {listing}", code=USAGE)
    return candidates[0]
