"""Which members an object of a schema has to have, and which it may: names and their schemas, no values. Pure."""

from collections.abc import Iterable, Iterator
from itertools import count, islice

from gateway.core.expressions import found
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.testing.contracts.expressions import texts_matching
from gateway.testing.contracts.scalars import texts_at_edges

_NAMES = ("extra", "ü 1", "0")
_MORE_NAMES = 20
MOST_MEMBERS = 60


class Members:
    """Those of one schema without alternatives."""

    def __init__(self, said: JsonObject) -> None:
        self.said = said
        self._others: tuple[str, ...] | None = None

    @property
    def known(self) -> dict[str, Json]:
        """Those with a name of their own; what may not be there is not among them."""
        return {name: each for name, each in json_object(self.said.get("properties")).items() if each is not False}

    @property
    def required(self) -> list[str]:
        return self.with_dependents(_texts(self.said.get("required")))

    @property
    def triggers(self) -> list[str]:
        """Members that demand others."""
        return [*self._dependents()]

    @property
    def least(self) -> int:
        return min(MOST_MEMBERS, _number(self.said.get("minProperties"), 0))

    @property
    def most(self) -> int:
        return _number(self.said.get("maxProperties"), MOST_MEMBERS)

    @property
    def takes_others(self) -> bool:
        """Whether it is said that there may be more than those with a name of their own."""
        return bool(self.said.get("patternProperties")) or self.said.get("additionalProperties") not in (None, False)

    def with_dependents(self, names: Iterable[str]) -> list[str]:
        """These, and whatever they demand, and so on."""
        dependents = self._dependents()
        whole = list(dict.fromkeys(names))
        for name in whole:  # grows meanwhile
            whole += [each for each in dependents.get(name, ()) if each not in whole]
        return whole

    def schema_of(self, name: str) -> Json:
        """What a member of this name has to meet, at least."""
        if name in self.known:
            return self.known[name]
        for pattern, schema in json_object(self.said.get("patternProperties")).items():
            if found(pattern, name):
                return schema
        others = self.said.get("additionalProperties")
        return others if isinstance(others, dict) and others else {"type": "string"}

    @property
    def other_names(self) -> tuple[str, ...]:
        """Names for members beside the known ones, no two the same; none where there may be none."""
        if self._others is None:
            known = json_object(self.said.get("properties"))
            self._others = tuple(dict.fromkeys(each for each in self._candidates() if each not in known))
        return self._others

    def _candidates(self) -> Iterator[str]:
        names = json_object(self.said.get("propertyNames"))
        if "const" in names or "enum" in names:
            yield from _texts([names.get("const"), *json_list(names.get("enum"))])
            return
        for pattern in json_object(self.said.get("patternProperties")):
            yield from islice(texts_matching(pattern, 1), _MORE_NAMES)
        if self.said.get("additionalProperties") is False:
            return
        if pattern := json_text(names.get("pattern")):
            yield from islice(texts_matching(pattern, 1), _MORE_NAMES)
        elif names:
            yield from islice((each for each in texts_at_edges(names) if each), _MORE_NAMES)
            least, most = _number(names.get("minLength"), 0), _number(names.get("maxLength"), 40)
            yield from (f"{number}".rjust(least, "a")[:most] for number in range(_MORE_NAMES))
        else:
            yield from _NAMES
            yield from islice((f"extra{number}" for number in count(1)), _MORE_NAMES)

    def _dependents(self) -> dict[str, list[str]]:
        demanded: dict[str, list[str]] = {}
        for keyword in ("dependentRequired", "dependencies"):
            for name, wanted in json_object(self.said.get(keyword)).items():
                demanded.setdefault(name, []).extend(_texts(wanted))
        for name, schema in json_object(self.said.get("dependentSchemas")).items():
            demanded.setdefault(name, []).extend(_texts(json_object(schema).get("required")))
        return demanded


def _texts(value: Json) -> list[str]:
    return [each for each in json_list(value) if isinstance(each, str)]


def _number(value: Json, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
