"""Shared bounds: never exceeded, never used up by one, and whoever waits gets a turn."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from registry_core.access import ANONYMOUS, Subject, SubjectKind
from registry_core.http import callers, threads
from registry_core.http.bodies import Body
from registry_core.http.callers import Caller, network_of
from registry_core.http.crowding import BUSY_S, SLOW_BYTES_S, STUCK_S, Watched, equal_part, is_idle
from registry_core.http.fairness import AllTaken, OverShare, Shared, SharedSlots, Turns
from registry_core.machine.sockets import Connection

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol
    from granian.rsgi import Scope

LIMIT = 24
KEYS = st.sampled_from("abcd")


class Sharing(RuleBasedStateMachine):
    """Callers take and give back as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Shared(LIMIT)
        self.held: dict[str, int] = {}

    @rule(key=KEYS, amount=st.integers(0, 6))
    def take(self, key: str, amount: int) -> None:
        mine, free = self.held.get(key, 0), LIMIT - sum(self.held.values())
        try:
            self.shared.take(key, amount)
        except AllTaken:
            assert free < amount
        except OverShare:
            assert mine + amount > free - amount
            assert mine
        else:
            assert amount <= free
            self.held[key] = mine + amount

    @rule(key=KEYS, amount=st.integers(0, 6))
    def give_back(self, key: str, amount: int) -> None:
        amount = min(amount, self.held.get(key, 0))
        self.shared.give_back(key, amount)
        self.held[key] = self.held.get(key, 0) - amount

    @invariant()
    def counts_agree(self) -> None:
        assert self.shared.free == LIMIT - sum(self.held.values())
        assert all(self.shared.held_by(key) == amount for key, amount in self.held.items())


TestSharing = Sharing.TestCase


@given(st.integers(1, 300), st.integers(1, 6))
def test_greedy_callers_leave_something_for_one_who_comes_new(limit: int, callers_: int) -> None:
    shared = Shared(limit)
    for _ in range(limit):
        for key in range(callers_):
            if shared.is_free_for(str(key)):
                shared.take(str(key))
    if limit > callers_:
        shared.take("new")
        assert all(shared.held_by(str(key)) <= max(1, limit // 2) for key in range(callers_))
    assert shared.free >= 0


def test_one_caller_alone_gets_half_and_with_a_higher_ratio_most() -> None:
    half, most = Shared(256), Shared(12, ratio=3.0)
    for shared in (half, most):
        while shared.is_free_for("a"):
            shared.take("a")
        with pytest.raises(OverShare):
            shared.take("a")
    assert (half.held_by("a"), most.held_by("a")) == (128, 9)


def test_a_bound_of_one_serves_one_after_the_other() -> None:
    slots = SharedSlots(1)
    for caller in "ab":
        with slots.one(caller, "address"), pytest.raises(AllTaken), slots.one("c", "elsewhere"):
            pass
    with slots.one("a", "address"):
        pass


def test_many_accounts_of_one_address_leave_slots_to_others() -> None:
    slots, entered = SharedSlots(40), ExitStack()
    with entered:
        for account in range(30):
            entered.enter_context(slots.one(f"user:{account}", "192.0.2.1"))
        with pytest.raises(OverShare), slots.one("user:98", "192.0.2.1"):
            pass
        with slots.one("user:99", "198.51.100.1"):
            pass


# --- turns -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), min_size=1, max_size=60), st.integers(1, 5))
@settings(deadline=None)
def test_everybody_gets_a_turn_and_no_more_than_the_limit_at_once(arrivals: list[tuple[str, str]], limit: int) -> None:
    async def scenario() -> None:
        turns, at_once, done = Turns(limit), 0, 0

        async def work(caller: Caller) -> None:
            nonlocal at_once, done
            await turns.enter(caller)
            at_once += 1
            assert at_once <= limit
            await asyncio.sleep(0)
            at_once -= 1
            done += 1
            turns.leave(caller)

        await asyncio.gather(*(work(Caller(*arrival)) for arrival in arrivals))
        assert done == len(arrivals)

    asyncio.run(scenario())


def test_who_gives_up_waiting_keeps_no_place() -> None:
    async def scenario() -> None:
        turns, first = Turns(1), Caller("a")
        await turns.enter(first)
        waiting = [asyncio.ensure_future(turns.enter(Caller("b", str(number)))) for number in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        turns.leave(first)
        await asyncio.sleep(0)
        await waiting[1]
        waiting[2].cancel()
        turns.leave(Caller("b", "1"))
        await asyncio.wait_for(turns.enter(Caller("c")), 5)

    asyncio.run(scenario())


def test_members_of_one_address_take_turns() -> None:
    async def scenario() -> list[str]:
        turns, order = Turns(1), []
        await turns.enter(Caller("a"))

        async def work(member: str) -> None:
            await turns.enter(Caller("address", member))
            order.append(member)
            turns.leave(Caller("address", member))

        tasks = [asyncio.ensure_future(work(member)) for member in ["greedy"] * 20 + ["modest"]]
        await asyncio.sleep(0)
        turns.leave(Caller("a"))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()).index("modest") <= 1


@pytest.mark.parametrize("is_upload", [False, True])
def test_one_caller_cannot_keep_all_threads_busy(is_upload: bool) -> None:
    async def scenario() -> None:
        release = threading.Event()

        async def hold(address: str) -> None:
            callers.begin(address, "")
            await threads.run_plain(release.wait)

        holding = [asyncio.create_task(hold("192.0.2.1")) for _ in range(100)]
        await asyncio.sleep(0.05)
        callers.recognize(Subject(SubjectKind.USER, 5, "ada"))
        assert await asyncio.wait_for(threads.run_plain(lambda: 42), 10) == 42
        release.set()
        await asyncio.gather(*holding)

    asyncio.run(scenario())


# --- callers ---------------------------------------------------------------------------------------------------------


def test_callers_are_told_apart_by_what_they_cannot_make_up() -> None:
    async def caller(address: str, credentials: str, subject: Subject = ANONYMOUS) -> Caller:
        callers.begin(address, credentials)
        callers.recognize(subject)
        return callers.current()

    ada = Subject(SubjectKind.USER, 5, "ada")
    made_up = [asyncio.run(caller("192.0.2.1", f"Basic {number}")).group for number in range(3)]
    assert set(made_up) == {"192.0.2.1"}
    assert (
        asyncio.run(caller("192.0.2.1", "Basic x", ada))
        == asyncio.run(caller("192.0.2.2", "", ada))
        == Caller("user:5")
    )


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.1", "192.0.2.1"), ("192.0.2.1:80", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("x", "x"),
     ("2001:db8::1", "2001:db8::/64"), ("[2001:db8::ffff:1]:443", "2001:db8::/64")],
)  # fmt: skip
def test_one_client_of_ipv6_has_one_network(address: str, network: str) -> None:
    assert network_of(address) == network


# --- connections -----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 200), max_size=8), st.integers(8, 300))
def test_equal_parts_fit_and_take_nothing_from_the_small(held: dict[str, int], limit: int) -> None:
    part = equal_part(held, limit)
    assert sum(min(count, part) for count in held.values()) <= limit
    if sum(held.values()) <= limit:
        assert all(count <= part for count in held.values())
    else:
        assert sum(min(count, part + 1) for count in held.values()) > limit - len(held)


def connection(quiet_s: float, *, is_sending: bool = False, moved_bytes: int = 0) -> Connection:
    return Connection(3, "peer", "127.0.0.1:5080", True, is_sending, quiet_s, moved_bytes)


def body(*, is_awaited: bool) -> Body:
    asked = Body(cast("RSGIHTTPProtocol", None), {}, cast("Scope", None))
    asked.is_awaited = is_awaited
    return asked


def watched(seconds: float, moved_bytes: int = 0) -> Watched:
    """A connection that has moved so much within so many seconds of being looked at."""
    began = Watched(connection(0.0), 0.0)
    return began.seen(connection(0.0, moved_bytes=moved_bytes), seconds)


@pytest.mark.parametrize(
    ("quiet_s", "is_sending", "asked", "seen", "is_ended"),
    [
        (20.0, False, None, watched(0), True),
        (0.1, False, None, watched(STUCK_S - 1), False),
        (0.1, False, None, watched(STUCK_S), True),
        (0.1, False, None, watched(STUCK_S, int(STUCK_S) * SLOW_BYTES_S), False),
        (20.0, True, None, watched(STUCK_S - 1), False),
        (20.0, True, None, watched(STUCK_S), True),
        (20.0, False, body(is_awaited=False), watched(BUSY_S - 1), False),
        (20.0, False, body(is_awaited=False), watched(BUSY_S), True),
        (20.0, False, body(is_awaited=True), watched(STUCK_S - 1), False),
        (0.1, False, body(is_awaited=True), watched(STUCK_S), True),
        (0.1, True, body(is_awaited=False), watched(STUCK_S), True),
    ],
    ids=[
        "idle", "at work", "a head that trickles", "at good pace", "a pause in reading", "reading slowly",
        "waiting for us", "waiting for us for very long", "a pause in sending", "a body that trickles",
        "a relay that is read slowly",
    ],
)  # fmt: skip
def test_only_what_does_nothing_for_its_client_is_ended(
    quiet_s: float, *, is_sending: bool, asked: Body | None, seen: Watched, is_ended: bool
) -> None:
    assert is_idle(connection(quiet_s, is_sending=is_sending), asked, seen) is is_ended


def test_a_connection_from_the_port_of_an_earlier_one_is_a_new_one() -> None:
    old = Watched(connection(0.0, moved_bytes=1000), 0.0).seen(connection(0.0, moved_bytes=1000), STUCK_S)
    assert is_idle(connection(0.0), None, old)
    assert not is_idle(connection(0.0), None, old.seen(connection(0.0), STUCK_S + 1))
