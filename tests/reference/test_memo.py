"""The memory of results: by content, bounded by bytes, the least recently used dropped first."""

from __future__ import annotations

import numpy as np

from harness.reference.memo import MEMO, Memo, certified, content_key


def test_it_keeps_to_its_bytes_and_drops_the_least_recently_used() -> None:
    memo = Memo(100)
    made: list[bytes] = []

    def ask(name: bytes, size: int = 40) -> None:
        def make() -> bytes:
            made.append(name)
            return name

        assert memo.get(name, make, lambda _: size) == name

    for name in (b"a", b"b", b"a", b"c", b"a", b"b"):
        ask(name)
    assert made == [b"a", b"b", b"c", b"b"]  # b was the one not asked for again, then c
    assert memo.size <= memo.limit
    ask(b"large", 1000)
    assert len(memo) == 1  # the last one stays, whatever its size
    assert memo.size == 1000


def test_keys_tell_shapes_types_bytes_and_purposes_apart() -> None:
    x = np.arange(6, dtype=np.float32)
    keys = {
        content_key("a", x),
        content_key("b", x),
        content_key("a", x.reshape(2, 3)),
        content_key("a", x.astype(np.float64)),
        content_key("a", x.view(np.int32)),
        content_key("a", -x),
        content_key("a", x.view(x.dtype.newbyteorder())),  # the same bytes, other numbers
        content_key("a", x, x),
    }
    assert len(keys) == 8
    assert content_key("a", x.reshape(2, 3).T) == content_key("a", x.reshape(2, 3).T.copy())


def test_certified_results_are_the_same_object_the_second_time() -> None:
    x = np.array([[1.0, 2.0, 3.5]])
    before = len(MEMO)
    assert certified("softmax", x) is certified("softmax", x.copy())
    assert len(MEMO) == before + 1
