"""The machine's clocks and ids."""

import time

from adapters.system import SortableIds, SystemClock


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = SortableIds()
    early = [ids.new("run") for _ in range(1000)]
    made_ms = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= made_ms:
        pass
    late = ids.new("run")
    assert len(set(early)) == 1000
    assert max(early)[:14] < late[:14]


def test_an_id_is_its_prefix_and_26_characters() -> None:
    name = SortableIds().new("rec")
    assert name.startswith("rec_")
    assert len(name) == 4 + 26
    assert name[4:].isalnum()


def test_stored_times_are_utc_microseconds() -> None:
    assert abs(SystemClock().now_us() - time.time_ns() // 1000) < 5_000_000
    assert SystemClock().monotonic_s() <= SystemClock().monotonic_s()
