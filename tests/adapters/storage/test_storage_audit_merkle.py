import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.storage.audit.merkle import Chain, genesis

LEAVES = [bytes.fromhex(each) for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
ROOTS = {
    # Of Certificate Transparency's own tests (merkle/testonly in google/trillian).
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


@pytest.mark.parametrize(("size", "root"), ROOTS.items())
def test_roots_are_those_of_certificate_transparency(size: int, root: str) -> None:
    chain = Chain(head=genesis("o"))
    for leaf in LEAVES[:size]:
        chain.append(leaf)
    assert chain.root().hex() == root


@given(st.lists(st.binary(max_size=8), max_size=40), st.integers(0, 40))
def test_a_chain_goes_on_from_its_frontier_as_if_never_stopped(leaves: list[bytes], stop: int) -> None:
    chain = Chain(head=genesis("o"))
    for number, leaf in enumerate(leaves):
        if number == stop:
            chain = Chain(head=chain.head, size=chain.size, frontier=chain.frontier)
        before = chain.head
        assert chain.append(leaf) == hashlib.sha256(before + leaf).digest()
    assert chain.root() == root_of(leaves)


def test_a_frontier_that_does_not_fit_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Chain(head=b"", size=3, frontier=[b"x"])


def test_two_logs_begin_differently() -> None:
    assert genesis("a") != genesis("b")
