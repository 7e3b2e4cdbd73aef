"""Who is admitted: routes, rates, slots, and what overload sheds."""

import asyncio
import time

import pytest

from hamlet.core import errors
from hamlet.gateway import Admission, Caller, overload
from hamlet.gateway.admission import Priority
from hamlet.gateway.overload import OverloadMonitor
from hamlet.testing import ScriptedProvider, says
from support.gateway import GatewayHarness, deployment


async def test_caller_can_use_only_its_routes() -> None:
    harness = GatewayHarness([deployment(ScriptedProvider(says("yes")))])
    with pytest.raises(errors.RouteNotFound):
        await harness.open_stream(caller=Caller("k", frozenset({"other"})))
    stream = await harness.open_stream(caller=Caller("k", frozenset({"r"})))
    await stream.aclose()


def test_caller_rate_is_limited_and_refills() -> None:
    now = [100.0]
    admission = Admission(10, clock=lambda: now[0])
    caller = Caller("k", rate=(2, 60.0))
    for _ in range(2):
        admission.acquire_slot_nowait(caller)
    with pytest.raises(errors.LimitExceeded) as caught:
        admission.acquire_slot_nowait(caller)
    assert caught.value.retry_after == pytest.approx(30.0)
    now[0] += 30.0
    admission.acquire_slot_nowait(caller)
    admission.acquire_slot_nowait(Caller("other", rate=(2, 60.0)))
    assert admission.in_flight == 4


async def test_calls_over_max_in_flight_or_while_draining_are_shed() -> None:
    harness = GatewayHarness([deployment(ScriptedProvider())], max_in_flight=1)
    stream = await harness.open_stream()
    with pytest.raises(errors.Busy):
        await harness.open_stream()
    await stream.aclose()
    harness.admission.draining = True
    with pytest.raises(errors.Draining):
        await harness.open_stream()


async def test_admission_waits_for_a_slot() -> None:
    admission, caller = Admission(1), Caller("k")
    await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    admission.release_slot(caller)
    await waiting
    assert admission.in_flight == 1
    with pytest.raises(errors.Busy):
        await admission.acquire_slot(caller, Priority.CRITICAL, 0.05)
    admission.release_slot(caller)
    assert admission.in_flight == 0


async def test_free_slot_goes_to_least_loaded_caller_lifo() -> None:
    admission, greedy, modest = Admission(2), Caller("greedy"), Caller("modest", weight=2.0)
    order: list[str] = []

    async def acquire(caller: Caller, name: str) -> None:
        await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)
        order.append(name)

    await acquire(greedy, "first")
    await acquire(greedy, "second")
    deployments = [(greedy, "old"), (modest, "older"), (modest, "newer"), (greedy, "young")]
    waiting = [asyncio.ensure_future(acquire(caller, name)) for caller, name in deployments]
    await asyncio.sleep(0.01)
    for caller in (greedy, greedy, modest, modest):
        admission.release_slot(caller)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order[2:] == ["newer", "young", "older", "old"]


async def test_cancelled_admission_wait_releases_slot() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.acquire_slot_nowait(caller)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    late = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0)
    admission.release_slot(caller)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert admission.in_flight == 0


async def test_slot_freed_at_queue_timeout_is_used() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.acquire_slot_nowait(caller)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 0.1))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.001, admission.release_slot, caller)
    # Blocks the loop until both are due in the same iteration: the slot first, then the timeout.
    time.sleep(0.05)  # noqa: ASYNC251
    await waiting
    assert admission.in_flight == 1


def test_acquire_slot_nowait_does_not_wait() -> None:
    admission, caller = Admission(1), Caller("k")
    with admission.hold_slot(caller), pytest.raises(errors.Busy):
        admission.acquire_slot_nowait(caller)
    assert admission.in_flight == 0


async def test_last_slots_are_reserved_for_critical_calls() -> None:
    admission, caller = Admission(10), Caller("k")
    for _ in range(9):
        admission.acquire_slot_nowait(caller)
    with pytest.raises(errors.Busy):
        await admission.acquire_slot(caller, Priority.SHEDDABLE, 60.0)
    await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)


def test_overload_sheds_by_priority_and_recovers() -> None:
    monitor = OverloadMonitor()
    admission, caller = Admission(100, overload_level=lambda: monitor.level), Caller("k")

    def refused() -> list[str]:
        names = []
        for priority in Priority:
            try:
                with admission.hold_slot(caller, priority):
                    pass
            except errors.Busy:
                names.append(priority.name)
        return names

    refused_counts = []
    for reason in ("memory", "memory", "files", "files", "lag", None, None, None):
        monitor.update_level(reason)
        refused_counts.append(len(refused()))
    assert refused_counts == [1, 2, 3, 3, 2, 1, 0, 0]
    assert monitor.reason is None
    monitor.update_level("memory")
    assert refused() == ["SHEDDABLE"]


async def test_overload_detects_event_loop_lag(monkeypatch) -> None:
    monkeypatch.setattr(overload, "_WINDOW_S", 0.05)
    monkeypatch.setattr(overload, "_SAMPLE_INTERVAL_S", 0.01)
    monkeypatch.setattr(overload, "_MAX_LAG_S", -1.0)
    monitor = OverloadMonitor(memory_limit_bytes=1 << 50)
    monitor.start()
    while monitor.level < 2:
        await asyncio.sleep(0.01)
    await monitor.aclose()
    never_started = OverloadMonitor()
    await never_started.aclose()
    assert monitor.level >= 2
    assert never_started.level == 0


def test_overload_detects_memory_pressure(monkeypatch, tmp_path) -> None:
    assert OverloadMonitor(memory_limit_bytes=1)._exhausted_resource()
    assert not OverloadMonitor(memory_limit_bytes=1 << 50)._exhausted_resource()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(overload, "_CGROUP_MEMORY_MAX", limit)
    assert not OverloadMonitor()._exhausted_resource(), "no limit is known"
    limit.write_text("max\n")
    assert not OverloadMonitor()._exhausted_resource()
    limit.write_text("4096\n")
    assert OverloadMonitor()._exhausted_resource()


def test_lag_alone_sheds_no_critical_call() -> None:
    monitor = OverloadMonitor()
    admission = Admission(10, overload_level=lambda: monitor.level)
    for _ in range(30):
        monitor.update_level("lag")
    with admission.hold_slot(Caller()):
        assert monitor.reason == "lag"
    for priority in (Priority.SHEDDABLE, Priority.SCREEN):
        with pytest.raises(errors.Busy), admission.hold_slot(Caller(), priority):
            pass


async def test_a_refused_call_takes_nothing_of_the_callers_rate() -> None:
    admission, limited = Admission(1), Caller("limited", rate=(2, 60.0))
    with admission.hold_slot(Caller("other")):
        for _ in range(5):
            with pytest.raises(errors.Busy):
                await admission.acquire_slot(limited, Priority.CRITICAL, call_timeout_s=0.01)
            with pytest.raises(errors.Busy):
                admission.acquire_slot_nowait(limited)
    for _ in range(2):
        with admission.hold_slot(limited):
            pass
    with pytest.raises(errors.LimitExceeded):
        admission.acquire_slot_nowait(limited)
