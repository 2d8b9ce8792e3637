"""The shared ring against a ring that forgets nothing, and between two processes at full speed."""

import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.stream.shared_ring import SharedRing

ROOT = Path(__file__).resolve().parents[2]


def ring(capacity: int) -> SharedRing:
    return SharedRing(np.zeros(1, np.int64), np.zeros(capacity, np.float32))


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(-10, 10), st.integers(0, 60), st.integers(-50, 30), st.integers(0, 70))),
)
def test_it_equals_a_ring_that_forgets_nothing(capacity: int, steps: list[tuple[int, int, int, int]]) -> None:
    """Writes with gaps and over what was written; reads before, within and beyond it."""
    tested, whole, written, value = ring(capacity), np.zeros(10_000, np.float32), 0, 0
    for jump, count, back, length in steps:
        at = max(0, written + max(jump, -capacity, -count))
        samples = np.arange(value + 1, value + 1 + count, dtype=np.float32)
        value += count
        whole[written:at] = 0.0
        whole[at : at + count] = samples
        whole[at + count :] = 0.0
        written = at + count
        tested.write(at, samples)
        start = max(0, written + back)
        out = np.full(length, np.nan, np.float32)
        missing = tested.read_into(start, out)
        assert missing == min(length, max(0, start + length - written))
        wanted = whole[start : start + length].copy()
        wanted[: max(0, written - capacity - start)] = 0.0
        np.testing.assert_array_equal(out, wanted)
        assert tested.written == written


def test_memory_of_another_shape_is_refused() -> None:
    for head, data in (
        (np.zeros(2, np.int64), np.zeros(4, np.float32)),
        (np.zeros(1), np.zeros(4, np.float32)),
    ):
        with pytest.raises(ValueError, match="a shared ring lies over"):
            SharedRing(head, data)


WRITER = """
import sys
import numpy as np
from multiprocessing import shared_memory, resource_tracker
from bandmate.stream.shared_ring import SharedRing
memory = shared_memory.SharedMemory(sys.argv[1])
resource_tracker.unregister(memory._name, "shared_memory")
numbers = np.frombuffer(memory.buf, np.int64, 2)
ring = SharedRing(numbers[:1], np.frombuffer(memory.buf, np.float32, 1000, 16))
rng, total = np.random.default_rng(0), 400_000
while ring.written < total:
    count = int(min(rng.integers(1, 300), total - ring.written))
    while ring.written + count - numbers[1] > 1000:  # what the reader has not read yet stays
        pass
    ring.write(ring.written, np.arange(ring.written, ring.written + count, dtype=np.float32))
del ring, numbers
memory.close()
"""


def test_two_processes_at_full_speed_see_every_sample_once() -> None:
    """Each sample is its own index: a torn, lost or moved one would show."""
    memory = shared_memory.SharedMemory(create=True, size=16 + 4 * 1000)
    numbers = np.frombuffer(memory.buf, np.int64, 2)
    numbers[:] = 0
    reader = SharedRing(numbers[:1], np.frombuffer(memory.buf, np.float32, 1000, 16))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, memory.name], cwd=ROOT)
    try:
        position, rng = 0, np.random.default_rng(1)
        while position < 400_000:
            assert writer.poll() in (None, 0)
            count = min(int(rng.integers(1, 400)), reader.written - position)
            out = np.full(max(count, 0), np.nan, np.float32)
            assert reader.read_into(position, out) == 0
            np.testing.assert_array_equal(out, np.arange(position, position + count, dtype=np.float32))
            position += count
            numbers[1] = position
    finally:
        writer.kill()
        writer.wait()
        del reader, numbers
        memory.close()
        memory.unlink()
