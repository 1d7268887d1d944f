from collections import deque

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.nn.queue import Queue


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_it_is_a_ring_for_any_length_and_batch(length: int, batches: list[int]) -> None:
    queue = Queue(3, length)
    assert (queue.patients == -1).all()
    expected: deque[float] = deque(maxlen=length)
    written = 0
    for b in batches:
        values = torch.arange(written, written + b, dtype=torch.float32)
        queue.enqueue(values[:, None].expand(b, 3), values.long() + 7)
        expected.extend(values.tolist())
        written += b
        assert int(queue.pointer) == written % length
        assert int(queue.filled) == min(written, length) and queue.full == (written >= length)
        for value in expected:  # each where the ring puts it
            assert queue.keys[int(value) % length, 0] == value
            assert queue.patients[int(value) % length] == value + 7


def test_it_starts_with_unit_rows_alike_in_every_process() -> None:
    torch.manual_seed(1)
    first = Queue(8, 100)
    torch.manual_seed(2)
    second = Queue(8, 100)
    torch.testing.assert_close(first.keys.norm(dim=1), torch.ones(100))
    assert torch.equal(first.keys, second.keys)
    assert not first.full


def test_t3_everything_is_saved() -> None:
    queue = Queue(2, 5)
    queue.enqueue(torch.ones(3, 2), torch.tensor([4, 4, 2]))
    assert set(queue.state_dict()) == {"keys", "patients", "pointer", "filled"}
    twin = Queue(2, 5)
    twin.load_state_dict(queue.state_dict())
    assert torch.equal(twin.keys, queue.keys) and int(twin.pointer) == 3 and int(twin.filled) == 3
    assert twin.patients.tolist() == [4, 4, 2, -1, -1]


def test_a_key_of_nobody_known_wipes_the_patient_of_the_key_before() -> None:
    queue = Queue(2, 2)
    queue.enqueue(torch.ones(2, 2), torch.tensor([0, 1]))
    queue.enqueue(torch.ones(1, 2))
    assert queue.patients.tolist() == [-1, 1]


def test_half_precision_keys_are_stored_in_full() -> None:
    queue = Queue(2, 5)
    queue.enqueue(torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True))
    assert queue.keys.dtype == torch.float32 and not queue.keys.requires_grad
