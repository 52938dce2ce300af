"""The sizes of parts: 10,000 of them must reach 5 TiB, however an upload is cut, and a buffer must stay small."""

from __future__ import annotations

import hashlib
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.storage.interface import StorageError
from registry_core.storage.s3 import S3Store
from registry_core.storage.s3_parts import FIRST_PARTS, PART_MIN_BYTES, PARTS_MAX, PartBuffer, PartPlan
from registry_core.storage.s3_writer import Notes, Part
from tests.storage.test_driver import MIB, NOTHING
from tests.support.extent import IS_FULL
from tests.support.minio import Minio

TIB = 1 << 40
PART_LIMIT_BYTES = 5 << 30


@pytest.mark.parametrize("first_bytes", [5 * MIB, 16 * MIB, 64 * MIB, 1024 * MIB])
def test_ten_thousand_parts_reach_five_tebibytes(first_bytes: int) -> None:
    plan = PartPlan(first_bytes, is_equal=False)
    assert sum(plan.size_bytes(number) for number in range(1, PARTS_MAX + 1)) >= 5 * TIB


def test_short_parts_do_not_keep_an_object_from_five_tebibytes() -> None:
    plan = PartPlan(16 * MIB, is_equal=False)
    assert sum(plan.least_bytes(number) for number in range(1, PARTS_MAX + 1)) >= 5 * TIB


def test_objects_of_up_to_250_gib_take_no_part_of_more_than_64_mib() -> None:
    plan, size, number = PartPlan(16 * MIB, is_equal=False), 0, 0
    while size < 250 << 30:
        number += 1
        assert plan.size_bytes(number) <= 64 * MIB
        size += plan.size_bytes(number)


@given(first=st.integers(5 * MIB, 1024 * MIB), number=st.integers(1, PARTS_MAX), is_equal=st.booleans())
def test_each_part_is_one_that_the_store_takes(first: int, number: int, is_equal: bool) -> None:
    plan = PartPlan(first, is_equal=is_equal)
    assert PART_MIN_BYTES <= plan.least_bytes(number) <= plan.size_bytes(number) <= PART_LIMIT_BYTES
    assert number == PARTS_MAX or plan.size_bytes(number) <= plan.size_bytes(number + 1)


def test_equal_parts_are_equal() -> None:
    plan = PartPlan(16 * MIB, is_equal=True)
    assert {plan.size_bytes(number) for number in (1, FIRST_PARTS, 5_000, PARTS_MAX)} == {16 * MIB}
    assert plan.least_bytes(1) == 16 * MIB


@given(chunks=st.lists(st.binary(max_size=40)), memory_bytes=st.integers(0, 100))
def test_buffer_gives_back_what_it_got_from_memory_or_file(chunks: list[bytes], memory_bytes: int) -> None:
    buffer = PartBuffer(memory_bytes=memory_bytes)
    for chunk in chunks:
        buffer.append(chunk)
    for _ in range(2):
        body = buffer.body()
        assert (bytes(body) if isinstance(body, bytearray) else body.read()) == b"".join(chunks)
    assert len(buffer) == len(b"".join(chunks))
    buffer.clear()
    assert len(buffer) == 0
    assert buffer.body() == bytearray()


def test_large_part_is_not_in_memory() -> None:
    buffer, chunk = PartBuffer(memory_bytes=4 * MIB), bytes(MIB)
    tracemalloc.start()
    try:
        for _ in range(64):
            buffer.append(chunk)
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()
        buffer.clear()


@pytest.mark.slow
@pytest.mark.skipif(not IS_FULL, reason="writes 5.1 GiB: set PORTOLAN_TEST_FULL=1")
def test_object_of_more_than_five_gibibytes(minio: Minio) -> None:
    store = S3Store(minio.config())
    block, expected = random.Random(1).randbytes(MIB), hashlib.sha256()
    key, offset, notes = store.new_key(), 0, NOTHING
    for _ in range(5):  # five requests
        writer = store.writer(key, offset=offset, parts=notes)
        for number in range(1045):
            if writer.until_checkpoint_bytes <= 0:
                writer.checkpoint()
            piece = number.to_bytes(8, "big") + block[8:]
            writer.write(piece)
            expected.update(piece)
        notes, offset = writer.hand_over(), writer.offset
        writer.close()
    made = store.writer(key, offset=offset, parts=notes).commit()
    received = hashlib.sha256()
    for chunk in store.read(made):
        received.update(chunk)
    assert store.size_bytes(made) == offset > 5 << 30
    assert received.digest() == expected.digest()


def test_part_after_the_ten_thousandth_is_refused(s3: S3Store) -> None:
    key, size = s3.new_key(), 5 * MIB
    notes = Notes(key=f"{key}-x", upload_id="u", parts=[Part("0" * 32, size)] * PARTS_MAX)
    writer = s3.writer(key, offset=PARTS_MAX * size, parts=notes.stored())
    writer.write(b"one more byte")
    with pytest.raises(StorageError, match="more than 10000 parts"):
        writer.commit()
