"""How the load balancer of a process is put together."""

from hamlet.config import FleetConfig
from hamlet.routing import DeploymentState, build_routing
from support.gateway import RecordingLog
from support.routing import stub_deployment


def test_without_redis_nothing_is_shared() -> None:
    changed: list[DeploymentState] = []
    load_balancer, sync_task = build_routing(
        FleetConfig(), list, RecordingLog(), changed.append, lambda _: None
    )
    assert sync_task is None
    assert load_balancer.pending_updates is None
    assert load_balancer.may_probe("any")
    state = load_balancer.deployment_state(stub_deployment("a"))
    load_balancer.merge_remote(state, state.snapshot(0.0))
    assert changed == [state]


def test_with_redis_updates_are_recorded_and_probes_need_a_lease() -> None:
    config = FleetConfig(redis="redis://127.0.0.1:1/0")
    load_balancer, sync_task = build_routing(
        config, list, RecordingLog(), lambda _: None, lambda _: None
    )
    assert sync_task is not None
    assert load_balancer.pending_updates is not None
    assert not load_balancer.may_probe("a/m")
    sync_task.probe_leases.on_granted("a/m", load_balancer.clock())
    assert load_balancer.may_probe("a/m")
