"""The sync task before it is started; behaviour/routing has the rest."""

from hamlet.routing import LoadBalancer, PendingUpdates, ProbeLeases, SyncTask
from support.gateway import RecordingLog


async def test_close_without_start() -> None:
    load_balancer = LoadBalancer(pending_updates=PendingUpdates())
    url = "redis://127.0.0.1:1/0"
    sync_task = SyncTask(load_balancer, ProbeLeases(), url, "g", list, RecordingLog())
    await sync_task.aclose()
    assert sync_task.state == "local"
