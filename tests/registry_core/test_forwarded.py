"""Who the client is behind proxies: which headers are believed, from whom, and how far along the chain."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.http.forwarded import (
    Hop,
    Malformed,
    Origin,
    is_host,
    joined,
    origin_of,
    parse_forwarded,
    parse_node,
    split_host,
)

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
PROXY = "10.0.0.1:40000"

addresses = st.ip_addresses().map(str)
outsiders = st.ip_addresses(network="203.0.113.0/24").map(str)
proxies = st.ip_addresses(network="10.0.0.0/8").map(str)
texts = st.text(max_size=60)


def seen(peer: str = PROXY, **headers: str) -> Origin:
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return origin_of(peer=peer, scheme="http", headers={"host": "inner:5080", **lower}, trusted=TRUSTED)


def test_headers_of_a_stranger_are_not_believed() -> None:
    told = seen("203.0.113.9:40000", x_forwarded_for="198.51.100.7", x_forwarded_proto="https", forwarded="for=1.2.3.4")
    assert told == Origin("203.0.113.9", "http", "inner:5080")


def test_a_trusted_proxy_tells_address_scheme_and_host() -> None:
    told = seen(x_forwarded_for="198.51.100.7", x_forwarded_proto="https", x_forwarded_host="hub.example.org")
    assert told == Origin("198.51.100.7", "https", "hub.example.org")
    told = seen(forwarded='for="[2001:db8::7]:4711";proto=https;host="hub.example.org:8443"')
    assert told == Origin("2001:db8::7", "https", "hub.example.org:8443")


def test_scheme_alone_is_believed_too() -> None:
    assert seen(x_forwarded_proto="https") == Origin("10.0.0.1", "https", "inner:5080")


@given(invented=st.lists(addresses, max_size=5), client=outsiders, chain=st.lists(proxies, max_size=5))
def test_the_rightmost_address_that_is_no_proxy_is_the_client(
    invented: list[str], client: str, chain: list[str]
) -> None:
    assert seen(x_forwarded_for=", ".join([*invented, client, *chain])).address == client
    nodes = [f'"[{node}]"' if ":" in node else node for node in [*invented, client, *chain]]
    assert seen(forwarded=", ".join(f"for={node}" for node in nodes)).address == client


@given(client=outsiders, invented=texts)
def test_what_the_client_wrote_to_the_left_changes_nothing(client: str, invented: str) -> None:
    assert seen(x_forwarded_for=f"{invented},{client}").address == client


@given(peer=outsiders, values=st.fixed_dictionaries({}, optional={"forwarded": texts, "x-forwarded-for": texts}))
def test_nothing_in_a_header_moves_a_stranger(peer: str, values: dict[str, str]) -> None:
    assert origin_of(peer=peer, scheme="https", headers=values, trusted=TRUSTED) == Origin(peer, "https", "")


@given(values=st.fixed_dictionaries({}, optional=dict.fromkeys(("forwarded", "x-forwarded-for", "host"), texts)))
def test_any_header_is_survived_and_gives_an_address(values: dict[str, str]) -> None:
    assert parse_node(origin_of(peer=PROXY, scheme="http", headers=values, trusted=TRUSTED).address) is not None


def test_two_kinds_of_header_that_disagree_are_not_believed() -> None:
    assert seen(x_forwarded_for="198.51.100.7", forwarded="for=203.0.113.1;proto=https") == Origin(
        "10.0.0.1", "http", "inner:5080"
    )
    assert seen(x_forwarded_for="198.51.100.7", forwarded="for=198.51.100.7;proto=https").scheme == "https"


def test_when_all_are_proxies_the_outermost_is_the_client() -> None:
    assert seen(x_forwarded_for="10.9.9.9, 10.8.8.8").address == "10.9.9.9"


@pytest.mark.parametrize("node", ["unknown", "_hidden", "", "nonsense", "300.1.1.1"])
def test_a_hop_that_hides_its_client_ends_the_chain(node: str) -> None:
    assert seen(x_forwarded_for=f"198.51.100.7, {node}, 10.8.8.8").address == "10.8.8.8"


def test_schemes_of_several_hops_belong_to_their_addresses() -> None:
    told = seen(x_forwarded_for="198.51.100.7, 10.8.8.8", x_forwarded_proto="https, http")
    assert (told.address, told.scheme) == ("198.51.100.7", "https")
    assert seen(x_forwarded_for="1.1.1.1, 198.51.100.7", x_forwarded_proto="https").scheme == "https"
    assert seen(x_forwarded_for="198.51.100.7", x_forwarded_proto="javascript").scheme == "http"


@pytest.mark.parametrize("host", ["evil.example/path", "a b", 'x"y', "user@host", "", "h:port", "[::1", "é.example"])
def test_a_host_that_is_none_is_not_taken_over(host: str) -> None:
    assert not is_host(host)
    assert seen(x_forwarded_for="198.51.100.7", x_forwarded_host=host).host == "inner:5080"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8:0:0::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[::1]:_port", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:80", "192.0.2.1"),
    ],
)
def test_addresses_are_written_in_one_way(text: str, address: str) -> None:
    assert str(parse_node(text)) == address


@pytest.mark.parametrize("text", ["", "[::1", "[::1]x", "192.0.2.1:x", "host", "1.2.3", "[]", "192.0.2.1:1:2"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_node(text) is None


def test_forwarded_is_read_as_the_rfc_writes_it() -> None:
    assert parse_forwarded('For="[2001:db8:cafe::17]:4711"') == [Hop("[2001:db8:cafe::17]:4711")]
    assert parse_forwarded("for=192.0.2.60;proto=http;by=203.0.113.43") == [Hop("192.0.2.60", "http")]
    assert parse_forwarded('for=192.0.2.43, for="_a\\"b,c;d";host=x') == [Hop("192.0.2.43"), Hop('_a"b,c;d', "", "x")]


@pytest.mark.parametrize("text", ["", "for", "for=", "for=1;for=2", 'for="1', "for=1;", "for=1,", "for=a b", "=x", ","])
def test_forwarded_that_is_malformed_is_refused_whole(text: str) -> None:
    with pytest.raises(Malformed):
        parse_forwarded(text)


@given(texts)
def test_the_parser_either_reads_or_refuses(text: str) -> None:
    with contextlib.suppress(Malformed):
        assert parse_forwarded(text)


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=32), max_size=12), min_size=1))
def test_any_quoted_value_comes_through(values: list[str]) -> None:
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    assert [hop.node for hop in parse_forwarded(",".join(f'for="{value}"' for value in quoted))] == values


def test_lines_of_one_name_are_one_list() -> None:
    lines = [("x-forwarded-for", "1.1.1.1"), ("host", "a"), ("x-forwarded-for", "2.2.2.2")]
    assert joined(lines) == {"x-forwarded-for": "1.1.1.1,2.2.2.2"}


@pytest.mark.parametrize(
    ("host", "parts"),
    [("a:1", ("a", "1")), ("a", ("a", "")), ("[::1]", ("[::1]", "")), ("[::1]:5", ("[::1]", "5")), ("", ("", ""))],
)
def test_host_and_port_are_told_apart(host: str, parts: tuple[str, str]) -> None:
    assert split_host(host) == parts
