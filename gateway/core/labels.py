"""What is known of a piece of data: who could have written it, what it discloses, where it may lie.

Labels attach to values, never to whole runs. They are joined when values meet, and nothing here takes one away.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.errors import GatewayError
from gateway.core.json import Json, json_list, json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A point in a join-semilattice: `join` is associative, commutative and idempotent, and only ever adds."""

    untrusted: frozenset[str] = frozenset()
    """Sources that could have written this, for example `server:web`. Empty means trusted."""
    confidential: frozenset[str] = frozenset()
    """Classes it discloses: PII classes, `secret`."""
    regions: frozenset[str] = frozenset()
    """Regions whose rules apply to it."""

    @property
    def trusted(self) -> bool:
        return not self.untrusted

    def join(self, other: "Labels") -> "Labels":
        """The labels of a value made from both."""
        if other is self or not other:
            return self
        if not self:
            return other
        return Labels(
            untrusted=self.untrusted | other.untrusted,
            confidential=self.confidential | other.confidential,
            regions=self.regions | other.regions,
        )

    def covers(self, other: "Labels") -> bool:
        """Whether every label of `other` is here too."""
        return (
            self.untrusted >= other.untrusted
            and self.confidential >= other.confidential
            and self.regions >= other.regions
        )

    def __bool__(self) -> bool:
        return bool(self.untrusted or self.confidential or self.regions)

    def to_json(self) -> dict[str, Json]:
        """Sorted lists under `untrusted`, `confidential`, `regions`; empty ones left out."""
        named = (("untrusted", self.untrusted), ("confidential", self.confidential), ("regions", self.regions))
        return {name: [*sorted(values)] for name, values in named if values}


CLEAN = Labels()
"""Trusted, nothing disclosed, no region: the identity of `join`."""


def join_all(labels: Iterable[Labels]) -> Labels:
    """The labels of a value made from all of them."""
    joined = CLEAN
    for each in labels:
        joined = joined.join(each)
    return joined


def labels_of(error: GatewayError) -> Labels:
    """What is known of what an error says: an outsider's refusal is an outsider's word like any other."""
    return Labels(untrusted=error.sources) if error.sources else CLEAN


def labels_from_json(value: Json) -> Labels:
    """See `Labels.to_json`. What is not a list of strings counts as none."""
    fields = json_object(value)
    if not fields:
        return CLEAN
    return Labels(
        untrusted=_strings(fields.get("untrusted")),
        confidential=_strings(fields.get("confidential")),
        regions=_strings(fields.get("regions")),
    )


def _strings(value: Json) -> frozenset[str]:
    return frozenset(each for each in json_list(value) if isinstance(each, str))
