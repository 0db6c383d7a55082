"""The rate limit's arithmetic, whom it takes a client for, and that it never grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from ticketing.api import rate_limit
from ticketing.api.rate_limit import TABLE_BYTES, RateLimit, TrustedProxies, bucket_of, shared_table

PROXIES = "127.0.0.1, 10.0.0.0/8,::1"
CLIENT = "203.0.113.7"


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limit_of(clock: Clock, per_s: float = 2, burst: int = 5, proxies: str = PROXIES) -> RateLimit:
    return RateLimit(per_s, burst, TrustedProxies(proxies), b"a secret of tests", clock)


def admitted(limit: RateLimit, asked: int, peer: str = CLIENT, forwarded_for: str | None = None) -> int:
    return sum(limit.wait_s(peer, forwarded_for) == 0 for _ in range(asked))


def test_a_burst_is_admitted_at_once_and_then_the_rate(clock: Clock) -> None:
    limit = limit_of(clock)
    assert admitted(limit, 100) == 5
    for _ in range(10):
        clock.now_s += 1
        assert admitted(limit, 100) == 2
    clock.now_s += 3600
    assert admitted(limit, 100) == 5


def test_who_waits_as_long_as_it_is_told_is_admitted(clock: Clock) -> None:
    limit = limit_of(clock, per_s=0.1, burst=1)
    assert limit.wait_s(CLIENT, None) == 0
    for _ in range(20):
        wait_s = limit.wait_s(CLIENT, None)
        assert wait_s == 10
        clock.now_s += wait_s
        assert limit.wait_s(CLIENT, None) == 0


def test_who_is_turned_away_does_not_wait_longer_for_having_asked(clock: Clock) -> None:
    limit = limit_of(clock, per_s=1, burst=1)
    assert admitted(limit, 1_000) == 1
    clock.now_s += 1
    assert admitted(limit, 1) == 1


@given(per_s=st.floats(0.01, 1_000), burst=st.integers(1, 50), steps=st.lists(st.floats(0, 20), max_size=30))
def test_no_client_is_ever_admitted_more_often_than_the_rate_and_a_burst(
    per_s: float, burst: int, steps: list[float]
) -> None:
    clock = Clock()
    limit = limit_of(clock, per_s, burst)
    passed_s, count = 0.0, admitted(limit, burst + 5)
    assert count == burst
    for step_s in steps:
        clock.now_s += step_s
        passed_s += step_s
        count += admitted(limit, burst + 5)
        assert count <= burst + per_s * passed_s + 1e-3


def test_each_client_has_its_own_limit(clock: Clock) -> None:
    limit = limit_of(clock)
    assert [admitted(limit, 10, f"203.0.113.{number}") for number in range(100)] == [5] * 100


def test_two_that_share_a_table_count_together(clock: Clock) -> None:
    table = shared_table()
    one, other = limit_of(clock), limit_of(clock)
    one.share(table)
    other.share(table)
    assert admitted(one, 3) + admitted(other, 10) == 5


def test_many_made_up_clients_take_no_more_memory_and_hold_back_few(
    clock: Clock,
) -> None:
    limit = limit_of(clock, burst=1)
    for number in range(50_000):
        limit.wait_s(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", None)
    assert len(limit._table.tobytes()) == TABLE_BYTES
    assert limit._places.cache_info().currsize == rate_limit.ADDRESSES_REMEMBERED
    others = [f"198.51.{number // 250}.{number % 250}" for number in range(10_000)]
    held_back = sum(limit.wait_s(other, None) > 0 for other in others)
    assert held_back < 200  # about 90: (50,000 / PLACES) squared of them


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        (CLIENT, None, CLIENT),
        (CLIENT, "1.2.3.4", CLIENT),  # not a proxy of ours: whatever it says
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", CLIENT, CLIENT),
        ("127.0.0.1", f"1.2.3.4, {CLIENT}", CLIENT),  # the left is what the client wrote itself
        ("127.0.0.1", f"1.2.3.4, {CLIENT}, 10.1.2.3", CLIENT),  # by way of two proxies
        ("127.0.0.1", f"127.0.0.1, {CLIENT},10.1.2.3", CLIENT),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),  # from within
        ("127.0.0.1", f"{CLIENT}, unknown", "127.0.0.1"),
        ("127.0.0.1", f"{CLIENT}, unknown, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", f"{CLIENT}:51234", CLIENT),
        ("127.0.0.1", "[2001:db8::7]:51234", "2001:db8::7"),
        ("127.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:127.0.0.1", f"::ffff:{CLIENT}", CLIENT),
        ("::1", "fe80::1%eth0", "fe80::1"),
        ("", CLIENT, ""),
    ],
)
def test_the_client_is_the_last_hop_that_no_trusted_proxy_stands_behind(
    peer: str, forwarded_for: str | None, client: str
) -> None:
    assert TrustedProxies(PROXIES).client_of(peer, forwarded_for) == client


def test_a_proxy_that_nobody_named_is_said_once() -> None:
    said: list[str] = []
    sink = logger.add(said.append, level="WARNING")
    try:
        proxies = TrustedProxies(PROXIES)
        assert {proxies.client_of("192.0.2.1", f"1.2.3.{number}") for number in range(9)} == {"192.0.2.1"}
        proxies.client_of("127.0.0.1", CLIENT)
    finally:
        logger.remove(sink)
    assert len(said) == 1
    assert "192.0.2.1 sends X-Forwarded-For" in said[0]


def test_where_everybody_is_trusted_the_last_entry_is_the_client() -> None:
    everybody = TrustedProxies("*")
    assert everybody.client_of("192.0.2.1", f"1.2.3.4, {CLIENT}") == CLIENT
    assert everybody.client_of("192.0.2.1", None) == "192.0.2.1"


def test_a_client_does_not_get_around_its_limit_by_what_it_writes(clock: Clock) -> None:
    limit = limit_of(clock)
    made_up = (f"{number % 200 + 1}.2.3.4, {CLIENT}" for number in range(300))
    assert sum(limit.wait_s("127.0.0.1", header) == 0 for header in made_up) == 5
    long = "9.9.9.9, " * 500 + CLIENT
    assert limit.wait_s("127.0.0.1", long) > 0


def test_an_ipv6_household_is_one_client(clock: Clock) -> None:
    limit = limit_of(clock)
    assert sum(limit.wait_s(f"2001:db8:0:7::{number:x}", None) == 0 for number in range(1, 100)) == 5
    assert limit.wait_s("2001:db8:0:8::1", None) == 0
    assert bucket_of("::ffff:203.0.113.7") == bucket_of(CLIENT)
    assert bucket_of("not an address") == b"not an address"


def test_proxies_that_are_no_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match="proxy"):
        TrustedProxies("proxy.example.com")
