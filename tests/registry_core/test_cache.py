"""The cache for what can change: what it returns, when it reads, and which entries go when room is needed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.caches import Budget, cached
from registry_core.caching.cache import ABSENT, ENTRY_BYTES, NOT_CACHED, Cache
from registry_core.machine.generations import Generations

KEY = "repository:1"
VALUE_BYTES = 100
UNIT = ENTRY_BYTES + VALUE_BYTES
"""What `fill` takes for an entry."""


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    return generations


@pytest.fixture(scope="module")
def lasting_generations(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    return Generations(tmp_path_factory.mktemp("cache") / "generations")


@pytest.fixture
def make(generations: Generations) -> Callable[..., Cache[object]]:
    """Makes caches that share a budget of some entries."""

    def make(name: str = "one", *, share: float = 1, budget: Budget | None = None) -> Cache[object]:
        return Cache(name, share=share, generations=generations, budget=budget or Budget(1 << 20))

    return make


def fill(cache: Cache[object], keys: Iterable[object]) -> None:
    for key in keys:
        cache.put(key, key, seen=cache.begin([KEY]), size_bytes=VALUE_BYTES)


def cached_keys(cache: Cache[object], keys: Iterable[object]) -> list[object]:
    return [key for key in keys if cache.get(key) is not None]


def test_what_changed_is_gone_and_what_was_read_before_or_during_the_change_is_not_cached(
    generations: Generations, make: Callable[..., Cache[object]]
) -> None:
    cache = make()
    seen = cache.begin([KEY])
    cache.put("name", "old", seen=seen)
    assert cache.get("name") == "old"
    with generations.changing([KEY]):
        assert cache.get("name") is None
        cache.put("name", "half", seen=cache.begin([KEY]))
        assert cache.get("name") is None
    cache.put("name", "read before the change", seen=seen)
    assert cache.get("name") is None


def test_nothing_is_returned_while_nobody_looks_for_changes_unless_the_database_is_away(
    tmp_path: Path, make: Callable[..., Cache[object]]
) -> None:
    generations = Generations(tmp_path / "other")
    cache: Cache[str] = Cache("one", share=1, generations=generations, budget=Budget())
    cache.put("name", "value", seen=cache.begin([KEY]))
    assert cache.get("name") is None

    generations.unreachable()
    assert cache.get("name") == "value"

    generations.followed(1)
    assert cache.get("name") == "value"
    assert generations.unreachable_for_s() == 0


def test_what_depends_on_no_generation_is_returned_also_while_nobody_looks_for_changes(tmp_path: Path) -> None:
    cache: Cache[str] = Cache("one", share=1, generations=Generations(tmp_path / "other"), budget=Budget())
    cache.put("name", "value", seen=())
    assert cache.get("name") == "value"


def test_none_is_a_value_like_any_other(make: Callable[..., Cache[object]]) -> None:
    cache, reads = make(), []

    def read() -> None:
        reads.append(1)

    for _ in range(3):
        assert cache.read_through("key", read, depends_on=[KEY]) is None
    assert len(reads) == 1
    assert (cache.get("key", ABSENT), cache.get("other", ABSENT)) == (None, ABSENT)


def test_reading_through_reads_once_until_something_changes(
    generations: Generations, make: Callable[..., Cache[object]]
) -> None:
    cache, numbers = make(), iter(range(10))

    async def read() -> int:
        return next(numbers)

    def both_ways() -> list[object]:
        return [
            cache.read_through("key", lambda: next(numbers), depends_on=[KEY]),
            asyncio.run(cache.aread_through("key", read, depends_on=[KEY])),
        ]

    assert both_ways() == [0, 0]
    generations.bump([KEY])
    assert both_ways() == [1, 1]


def test_a_change_during_the_read_is_seen_by_the_next_one(
    generations: Generations, make: Callable[..., Cache[object]]
) -> None:
    """The generations are looked at before the read, so what it finds too early is not taken for fresh."""
    cache = make()
    rows = {"key": "old", "other": "old"}

    def read(keys: list[str]) -> dict[str, object]:
        found: dict[str, object] = {key: rows[key] for key in keys}
        rows.update(dict.fromkeys(rows, "new"))
        generations.bump([KEY])
        return found

    async def aread(keys: list[str]) -> dict[str, object]:
        return read(keys)

    def depends_on(_: str) -> list[str]:
        return [KEY]

    ways: list[Callable[[], object]] = [
        lambda: cache.read_through("key", lambda: read(["key"])["key"], depends_on=[KEY]),
        lambda: asyncio.run(cache.aread_each(["key"], aread, depends_on=depends_on))["key"],
        lambda: cache.read_each(["key"], read, depends_on=depends_on)["key"],
    ]
    for way in ways:
        rows["key"] = "old"
        assert [way(), way()] == ["old", "new"]
        generations.bump([KEY])


def test_an_error_is_not_cached(make: Callable[..., Cache[object]]) -> None:
    cache = make()

    def fail() -> object:
        raise LookupError

    with pytest.raises(LookupError):
        cache.read_through("key", fail, depends_on=[KEY])
    assert cache.read_through("key", lambda: "found", depends_on=[KEY]) == "found"


def test_several_keys_are_read_at_once_and_only_those_that_are_not_cached(make: Callable[..., Cache[object]]) -> None:
    cache = make()
    asked: list[list[int]] = []

    def read(keys: list[int]) -> dict[int, object]:
        asked.append(keys)
        return {key: str(key) for key in keys if key < 10}

    async def aread(keys: list[int]) -> dict[int, object]:
        return read(keys)

    def depends_on(key: int) -> list[str]:
        return [f"repository:{key}"]

    assert cache.read_each([1, 2], read, depends_on=depends_on) == {1: "1", 2: "2"}
    assert asyncio.run(cache.aread_each([2, 3, 12], aread, depends_on=depends_on)) == {2: "2", 3: "3"}
    assert cache.read_each([1, 2, 3], read, depends_on=depends_on) == {1: "1", 2: "2", 3: "3"}
    assert asked == [[1, 2], [3, 12]]


def test_what_may_not_be_cached_is_read_each_time(make: Callable[..., Cache[object]]) -> None:
    cache, numbers = make(), iter(range(10))

    def life_s(value: object) -> float:
        return NOT_CACHED if value == 0 else 60

    read = [cache.read_through("key", lambda: next(numbers), depends_on=[KEY], ttl_s=life_s) for _ in range(3)]
    assert read == [0, 1, 1]


def test_an_entry_ends_by_the_clock(make: Callable[..., Cache[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make()
    cache.put("key", "value", seen=cache.begin([KEY]), ttl_s=60)
    assert cache.get("key") == "value"
    now_s = time.monotonic()
    monkeypatch.setattr("registry_core.caching.cache.monotonic", lambda: now_s + 61)
    assert cache.get("key") is None


def test_a_composite_depends_only_on_what_it_was_made_from(
    generations: Generations, make: Callable[..., Cache[object]]
) -> None:
    parts, made = make("parts"), make("made")
    parts.put("part", "newer", seen=parts.begin(["a"]))

    # A value that was read during a change could not be cached, and finds another one in its place.
    made.put_composite("whole", "of older", [parts.basis("part", lambda value: value == "older")], size_bytes=8)
    assert made.get("whole") is None

    made.put_composite("whole", "of newer", [parts.basis("part", lambda value: value == "newer")], size_bytes=8)
    assert made.get("whole") == "of newer"
    generations.bump(["a"])
    assert made.get("whole") is None


def test_two_caches_do_not_have_one_name(make: Callable[..., Cache[object]]) -> None:
    budget = Budget()
    make("one", budget=budget)
    with pytest.raises(ValueError, match="a name of its own"):
        make("one", budget=budget)


def test_the_entry_that_was_used_longest_ago_goes_first(make: Callable[..., Cache[object]]) -> None:
    cache = make(budget=Budget(3 * UNIT))
    fill(cache, [0, 1, 2])
    assert cache.get(0) == 0
    fill(cache, [3])
    assert cached_keys(cache, range(4)) == [0, 2, 3]


def test_a_full_budget_lets_the_oldest_go_of_whichever_cache(make: Callable[..., Cache[object]]) -> None:
    budget = Budget(4 * UNIT)
    one, other = make("one", budget=budget), make("other", budget=budget)
    fill(one, ["old", "used"])
    fill(other, ["newer"])
    assert one.get("used") == "used"
    fill(other, ["a", "b"])
    assert (one.get("old"), one.get("used")) == (None, "used")
    fill(other, ["c"])
    assert (one.get("used"), other.get("newer")) == ("used", None)


def test_a_cache_at_its_share_lets_its_own_entries_go(make: Callable[..., Cache[object]]) -> None:
    budget = Budget(8 * UNIT)
    one, small = make("one", budget=budget), make("small", share=1 / 4, budget=budget)
    fill(one, range(6))
    fill(small, range(1000))
    assert cached_keys(one, range(6)) == [*range(6)]
    assert cached_keys(small, range(1000)) == [998, 999]


def test_what_is_larger_than_its_share_pushes_nothing_out(make: Callable[..., Cache[object]]) -> None:
    cache = make(budget=Budget(10_000))
    cache.put("small", "value", seen=cache.begin(["a"]))
    cache.put("huge", "value", seen=cache.begin(["a"]), size_bytes=10_001)
    assert (cache.get("small"), cache.get("huge")) == ("value", None)


def test_a_smaller_budget_holds_at_once(make: Callable[..., Cache[object]]) -> None:
    budget = Budget(10 * UNIT)
    cache = make(budget=budget)
    fill(cache, range(10))
    budget.resize(4 * UNIT)
    assert cached_keys(cache, range(10)) == [6, 7, 8, 9]
    assert cache.statistics().bound_bytes == 4 * UNIT


def test_results_of_functions_are_charged_and_leave_room_for_the_rest(make: Callable[..., Cache[object]]) -> None:
    budget = Budget(8 * UNIT)
    cache = make(budget=budget)

    @cached("shouted", share=1 / 4, entry_bytes=UNIT, longest=10, budget=budget)
    def shouted(text: str) -> str:
        return text.upper()

    fill(cache, range(8))
    for number in range(100):
        assert shouted(f"a{number}") == f"A{number}"
    assert cached_keys(cache, range(8)) == [*range(2, 8)]
    assert budget.size_bytes == 8 * UNIT

    budget.resize(4 * UNIT)
    shouted("a")
    assert shouted("a") == "A"
    assert [figures.entries for figures in budget.statistics()] == [3, 1]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 3), st.booleans()), max_size=120))
def test_sizes_add_up_and_stay_within_their_bounds(
    lasting_generations: Generations, steps: list[tuple[int, int, int, bool]]
) -> None:
    generations = lasting_generations
    generations.followed(1)
    budget = Budget(8 * UNIT)
    caches: list[Cache[object]] = [
        Cache(str(number), share=share, generations=generations, budget=budget)
        for number, share in enumerate([1, 1 / 2, 1 / 4])
    ]
    for which, key, units, is_get in steps:
        cache = caches[which]
        if is_get:
            assert cache.get(key) in {None, key}
        else:
            cache.put(key, key, seen=cache.begin([str(key % 3)]), size_bytes=units * UNIT)
        if key == 0:
            generations.bump(["0"])
        figures = budget.statistics()
        assert budget.size_bytes == sum(cache.size_bytes for cache in figures) <= budget.bound_bytes
        assert all(cache.size_bytes <= cache.bound_bytes for cache in figures)
        assert len(budget.queue) == sum(cache.entries for cache in figures)


def test_threads_share_caches(generations: Generations, make: Callable[..., Cache[object]]) -> None:
    budget = Budget(50 * UNIT)
    caches = [make(str(number), share=1 / 2, budget=budget) for number in range(3)]
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(30):
            for step in range(200):
                cache, key = caches[(number + step) % 3], (step * (number + 7)) % 90
                try:
                    value = cache.read_through(key, lambda key=key: str(key), depends_on=[f"x:{key}"])  # type: ignore[misc]
                except Exception as error:
                    value = error
                if value != str(key):
                    wrong.append(value)
            generations.bump([f"x:{number}"])
            generations.followed(1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    figures = budget.statistics()
    assert budget.size_bytes == sum(cache.size_bytes for cache in figures) <= budget.bound_bytes
    assert len(budget.queue) == sum(cache.entries for cache in figures)
