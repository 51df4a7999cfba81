"""A memory that is searched word by word, in memory."""

from collections.abc import Collection, Mapping

from gateway.core.ports.memory import Memo, MemoryPlace, Room, words_asked, words_in


class MemoryInMemory:
    """See `Memory`."""

    def __init__(self) -> None:
        self.memos: dict[MemoryPlace, dict[str, Memo]] = {}

    async def add(self, place: MemoryPlace, memo: Memo, room: Room) -> None:
        there = self.memos.setdefault(place, {})
        there.setdefault(memo.id, memo)
        kept: dict[str, Memo] = {}
        left = room.bytes
        for each in _newest_first(there.values()):
            left -= each.size_bytes
            if each.at_us < room.after_us or len(kept) == room.entries or left < 0:
                break
            kept[each.id] = each
        self.memos[place] = kept

    async def search(self, place: MemoryPlace, query: str, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        asked = words_asked(query)
        scored: list[tuple[int, Memo]] = []
        for memo in _newest_first(self._standing(place, after_us)):
            words = set(words_in(" ".join((memo.text, *memo.tags))))
            scored.append((sum(word in words for word in asked), memo))
        scored.sort(key=lambda each: -each[0])
        return tuple(memo for score, memo in scored if score)[:limit]

    async def list(self, place: MemoryPlace, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        return tuple(_newest_first(self._standing(place, after_us)))[:limit]

    async def forget(self, place: MemoryPlace, ids: Collection[str]) -> int:
        there = self.memos.get(place, {})
        return sum(there.pop(each, None) is not None for each in set(ids))

    async def lapse(self, name: str, before_us: int, *, tenant: str = "") -> int:
        count = 0
        for place, there in self.memos.items():
            if place.name == name and tenant in ("", place.tenant):
                count += await self.forget(place, [memo.id for memo in there.values() if memo.at_us < before_us])
        return count

    async def names(self, tenant: str = "") -> Mapping[str, int]:
        found = ((place.name, len(there)) for place, there in self.memos.items() if tenant in ("", place.tenant))
        counts: dict[str, int] = {}
        for name, count in found:
            if count:
                counts[name] = counts.get(name, 0) + count
        return counts

    def _standing(self, place: MemoryPlace, after_us: int) -> Collection[Memo]:
        return [memo for memo in self.memos.get(place, {}).values() if memo.at_us >= after_us]


def _newest_first(memos: Collection[Memo]) -> Collection[Memo]:
    return sorted(memos, key=lambda memo: (memo.at_us, memo.id), reverse=True)
