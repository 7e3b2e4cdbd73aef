"""The sync task before it is started; behaviour/routing has the rest."""

from hamlet.routing import LoadBalancer, PendingUpdates, ProbeLeases, SyncTask
from hamlet.routing.gossip.sync_task import _root_cause
from support.gateway import RecordingLog


async def test_close_without_start() -> None:
    load_balancer = LoadBalancer(pending_updates=PendingUpdates())
    url = "redis://127.0.0.1:1/0"
    sync_task = SyncTask(load_balancer, ProbeLeases(), url, "g", list, RecordingLog())
    await sync_task.aclose()
    assert sync_task.state == "local"


def test_root_cause_is_the_first_error_in_nested_groups() -> None:
    error = TimeoutError("x")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [error, ValueError()])])
    assert _root_cause(group) is error
    assert _root_cause(error) is error
