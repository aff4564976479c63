"""Headers and query of the volumes routes."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers, QueryParams

from core.errors import InvalidRequest, RangeNotSatisfiable
from gateway.jobs.headers import ListQuery, idempotency_key, wait_preference
from gateway.jobs.results import ByteRange, byte_range


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["wait=20"], 20),
        (["respond-async, wait=20"], 20),
        (["respond-async", "WAIT = 5"], 5),
        (['wait="7"; x=y'], 7),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["await=20"], None),
        (["handling=lenient"], None),
        ([], None),
    ],
)
def test_the_preference_to_wait(values: list[str], expected: int | None) -> None:
    assert wait_preference(Headers(raw=[(b"prefer", value.encode()) for value in values])) == expected


def test_idempotency_keys() -> None:
    assert idempotency_key(Headers({})) is None
    assert idempotency_key(Headers({"Idempotency-Key": '"a-b"'})) == '"a-b"'
    for values in ([""], ["k" * 256], ["a b"], ["ä"], ["a", "b"]):
        with pytest.raises(InvalidRequest) as caught:
            idempotency_key(Headers(raw=[(b"idempotency-key", value.encode("latin-1")) for value in values]))
        assert caught.value.errors[0].pointer == "header/Idempotency-Key"


def test_links_lead_to_the_last_page_and_keep_the_filter() -> None:
    query = ListQuery.of(QueryParams("status=failed&limit=2"))
    assert query.next_link(2, 3) == '</v1/jobs?status=failed&limit=2&offset=2>; rel="next"'
    assert query.next_link(2, 2) is None
    assert ListQuery(offset=10).next_link(0, 99) is None


def test_a_wrong_query_is_named_and_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ListQuery.of(QueryParams("limit=Doe&status=lost"))
    assert [fault.pointer for fault in caught.value.errors] == ["query/status", "query/limit"]
    assert "Doe" not in str(caught.value.errors) + caught.value.detail


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-" + " " * 119 + "0", 10, ByteRange(0, 1)),
        # One byte more than a range may be long: as anything that is no range, it is ignored.
        ("bytes=0-" + " " * 120 + "0", 10, None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(5_000)), 10_000, None),
        ("bytes=0-0", 10, ByteRange(0, 1)),
        ("bytes=2-", 10, ByteRange(2, 8)),
        ("bytes=2-99", 10, ByteRange(2, 8)),
        ("bytes=-3", 10, ByteRange(7, 3)),
        ("bytes=-99", 10, ByteRange(0, 10)),
        ("Bytes = 0-1", 10, ByteRange(0, 2)),
        # None of these is one range of bytes: they are ignored.
        ("bytes=0-1,3-4", 10, None),
        ("bytes=4-2", 10, None),
        ("bytes=-", 10, None),
        ("pages=1-2", 10, None),
        ("bytes=a-b", 10, None),
    ],
)
def test_ranges(header: str | None, size: int, expected: ByteRange | None) -> None:
    assert byte_range(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_ranges_outside_the_file(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        byte_range(header, size)
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
