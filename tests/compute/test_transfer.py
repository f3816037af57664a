"""What waits for a GPU, and for how much of its work: told by events that stand for a GPU's."""

import pytest
import torch

from nnunet_resunet_ds.compute import transfer
from nnunet_resunet_ds.compute.transfer import MAX_AHEAD, Progress, to_host, to_host_later

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def events(monkeypatch):
    """The events that were waited for."""
    monkeypatch.setattr(Event, "waited", [])
    monkeypatch.setattr(Event, "recorded", 0)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    return Event.waited


class Event:
    """Stands for one of a GPU; notes when it is recorded and waited for."""

    waited = ()
    recorded = 0

    def __init__(self, blocking):
        assert blocking

    def record(self, stream):
        Event.recorded += 1
        self.number = Event.recorded

    def synchronize(self):
        self.waited.append(self)


def test_a_gpu_is_never_far_ahead_and_progress_is_what_it_has_done(events):
    done = []
    progress = Progress(done.append, CUDA)
    for n in range(5):
        progress.given(n + 1)
        assert len(done) == len(events) == max(0, n + 1 - MAX_AHEAD)
    progress.finish()
    assert done == [1, 2, 3, 4, 5] and len(events) == 5


def test_on_a_cpu_progress_is_told_at_once():
    done = []
    Progress(done.append, CPU).given(8)
    assert done == [8]


def test_memory_that_cannot_be_pinned_is_used_as_it_is(monkeypatch):
    def fail(_):
        raise RuntimeError("no more locked memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", fail)
    volume = torch.zeros(2)
    assert transfer.ready_to_send(volume, CUDA) is volume and transfer.ready_to_send(volume, CPU) is volume


class OnGPU(torch.Tensor):
    """Values that say they lie on a GPU."""

    device = CUDA


@pytest.fixture
def loss():
    return torch.tensor(0.25).as_subclass(OnGPU)


def test_a_value_is_waited_for_when_it_is_asked_for_and_no_later_work_with_it(events, loss, monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda size, dtype, pin_memory: torch.zeros(size, dtype=dtype))
    waits = [to_host_later(loss + number) for number in range(3)]
    assert Event.recorded == 3 and not events
    assert waits[1]() == 1.25 and [event.number for event in events] == [2]
    assert to_host(loss) == 0.25 and [event.number for event in events] == [2, 4]


def test_without_pinned_memory_a_value_is_fetched_when_it_is_asked_for(events, loss, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no more locked memory")

    monkeypatch.setattr(torch, "empty", fail)
    assert to_host_later(loss)() == 0.25 and not events


def test_a_value_on_a_cpu_is_itself():
    value = torch.tensor(1.0)
    assert to_host(value) is value
