"""The public names of the release before: they import, work, and warn."""

import dataclasses
import subprocess
import sys
from random import Random

import pytest

import hamlet.simulator
import hamlet.testing
import hamlet.testing.simulator as simulator
from hamlet.core import deprecation

TESTING = (
    "Canned", "LoopbackUpstream", "Received", "ScriptedProvider", "Wire", "assert_valid_stream",
    "json_reply", "says", "sse_reply",
)  # fmt: skip
SIMULATOR = (
    "Fault", "Latency", "Payg", "Ptu", "Simulated", "SimulatedRuntime", "SimulatedTransport",
    "SimulatorServer", "Stuck", "VirtualLoop", "World", "chaos", "marker", "measured", "read_faults",
)  # fmt: skip
RENAMED = {
    "Simulated": "SimulatedDeployment",
    "Stuck": "DeadlockError",
    "chaos": "random_faults",
    "measured": "load_latency",
    "read_faults": "parse_faults",
}


@pytest.fixture(autouse=True)
def warn_again(monkeypatch) -> None:
    """Names warn once per process: forget what other tests have used."""
    monkeypatch.setattr(deprecation, "_warned", set())


@pytest.mark.parametrize("name", TESTING)
def test_names_of_the_kit_are_unchanged(name: str) -> None:
    assert name in hamlet.testing.__all__
    assert hasattr(hamlet.testing, name)


@pytest.mark.parametrize("name", SIMULATOR)
def test_names_of_the_simulator_import(name: str) -> None:
    if name not in RENAMED:
        assert getattr(simulator, name) is not None
        return
    with pytest.warns(DeprecationWarning, match=f"{name} is now {RENAMED[name]}") as caught:
        old = getattr(simulator, name)
    assert caught[0].filename == __file__
    assert old is getattr(simulator, RENAMED[name])


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simulator.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simulator.Ptu().nothing  # noqa: B018


def test_old_arguments_work_and_warn() -> None:
    with pytest.warns(DeprecationWarning, match=r"Ptu\.(default_out|reports)") as caught:
        ptu = simulator.Ptu(25, unstated_output=7, tells_utilisation=False)
    assert len(caught) == 2
    assert {warning.filename for warning in caught} == {__file__}
    assert (ptu.default_output_tokens, ptu.reports_utilisation) == (7, False)
    with pytest.warns(DeprecationWarning, match=r"Payg\.default_output_tokens"):
        assert simulator.Payg(unstated_output=8).default_output_tokens == 8
    with pytest.warns(DeprecationWarning, match=r"SimulatedDeployment\.default_output_tokens"):
        deployment = simulator.SimulatedDeployment("a", capacity=ptu, answer_tokens=9)
    assert deployment.kind == "ptu"
    assert dataclasses.replace(deployment, name="b").default_output_tokens == 9


def test_old_attributes_work_and_warn() -> None:
    ptu = simulator.Ptu()
    with pytest.warns(DeprecationWarning, match=r"Ptu\.depth_tokens"):
        assert ptu.depth == ptu.depth_tokens
    with pytest.warns(DeprecationWarning, match=r"Latency\.samples"):
        latency = simulator.Latency(1.0, 0.0, 0.1, rows=((0.5, 0.25),))
    with pytest.warns(DeprecationWarning, match=r"Latency\.sample;"):
        assert latency.draw(Random(1), 0) == (0.5, 0.25)
    with pytest.warns(DeprecationWarning, match=r"Latency\.slowed_by"):
        assert latency.slower(2).samples == ((1.0, 0.5),)


def test_world_answers_by_its_old_name() -> None:
    world = simulator.World([simulator.SimulatedDeployment("a")], seed=1, clock=lambda: 0.0)
    with pytest.warns(DeprecationWarning, match=r"World\.answer is now .*World\.respond"):
        assert world.answer("GET", "/nobody/v1/models", b"").status == 404


def test_new_names_do_not_warn_and_are_those_of_the_simulator() -> None:
    assert set(simulator.__all__) == set(hamlet.simulator.__all__)
    for name in simulator.__all__:
        new = getattr(hamlet.simulator, name)
        found = getattr(simulator, name)
        assert found is new or issubclass(found, new)


def test_simulator_starts_by_its_public_module_name() -> None:
    command = [sys.executable, "-W", "error", "-m", "hamlet.testing.simulator", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--tokens-per-frame" in done.stdout
