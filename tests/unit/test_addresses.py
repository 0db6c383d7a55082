"""Addresses of stores: what each part of one means, and what is said of one that is wrong."""

import pytest

from ticketing import addresses


@pytest.mark.parametrize(
    "url", ["redis://example.com", "rediss://user:word@example.com:1/2", "unix:///run/valkey.sock", "redis://a/?db=1"]
)
def test_the_address_of_one_server_stays_as_it_is(url: str) -> None:
    address = addresses.parse(url)
    assert (address.url, address.is_sentinel, address.is_cluster) == (url, False, False)


def test_sentinels_their_service_and_whose_passwords_are_whose() -> None:
    address = addresses.parse("redis+sentinel://shop:a%40b@one,two:26380,[::1]:3/sale/2?sentinel_password=c%26d")
    assert address.is_sentinel
    assert address.hosts == (("one", 26379), ("two", 26380), ("::1", 3))
    assert (address.service, address.db, address.tls) == ("sale", 2, False)
    assert (address.username, address.password) == ("shop", "a@b")
    assert (address.sentinel_username, address.sentinel_password) == (None, "c&d")


def test_a_password_alone_and_tls() -> None:
    address = addresses.parse("rediss+sentinel://:word@one/sale")
    assert (address.username, address.password, address.db, address.tls) == (None, "word", 0, True)


def test_the_nodes_of_a_cluster() -> None:
    address = addresses.parse("rediss+cluster://:word@one,two:7001/0")
    assert address.is_cluster
    assert (address.hosts, address.tls, address.password) == ((("one", 6379), ("two", 7001)), True, "word")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com", "must start with"),
        ("redis", "must start with"),
        ("redis+sentinels://one/sale", "must start with"),
        ("unix+sentinel://one/sale", "must start with"),
        ("redis+sentinel://one", "must end with /<service>"),
        ("redis+sentinel://one/sale/first", "must end with /<service>"),
        ("redis+sentinel:///sale", "must name its hosts"),
        ("redis+sentinel://one,/sale", "must name its hosts"),
        ("redis+sentinel://one:/sale", "must name its hosts"),
        ("redis+sentinel://one:port/sale", "must name its hosts"),
        ("redis+sentinel://one:70000/sale", "must name its hosts"),
        ("redis+sentinel://one/sale?sentinel_pasword=word", "sentinel_pasword"),
        ("redis+cluster://one/1", "a cluster knows no service"),
        ("redis+cluster://one?sentinel_password=word", "nobody knows"),
    ],
)
def test_what_is_wrong_is_said_without_any_password(url: str, why: str) -> None:
    scheme, separator, rest = url.partition("://")
    with pytest.raises(ValueError, match=why) as raised:
        addresses.parse(f"{scheme}{separator}:hush@{rest}" if rest else url)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:hush/hush@one:6379/0", "is %2F"),
        ("redis://:hush?hush@one:6379/0", "is %3F"),
        ("rediss://:hush#hush@one:6379/0", "is %23"),
        ("redis://:hush[hush@one:6379/0", "is %5B"),
        ("redis://:hush@one:port/0", "host:port"),
        ("redis://:hush@one:70000/0", "host:port"),
        ("redis+cluster://:hush?hush=hush@one", "nobody knows"),
        ("redis+sentinel://:hush/0?hush=hush@one/sale", "nobody knows"),
    ],
)
def test_a_password_that_is_not_quoted_is_said_without_it(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        addresses.parse(url)
    assert "hush" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_no_password_is_shown() -> None:
    shown = repr(addresses.parse("redis+sentinel://shop:hush@one/sale?sentinel_password=hush"))
    assert "hush" not in shown
