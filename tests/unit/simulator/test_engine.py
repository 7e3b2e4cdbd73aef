"""One deployment on virtual time, seen through the real adapters."""

import asyncio
import statistics

import pytest

from hamlet.core import FinishReason, Started, TextDelta, collect, errors
from hamlet.simulator import Fault, Latency, Payg, Ptu, SimulatedDeployment, SimulatedRuntime
from hamlet.spi import ProviderSettings
from hamlet.testing import assert_valid_stream
from hamlet.testing.support import SilentLog
from support.simulation import make_adapter, make_request, run_on_virtual_time

# Half a second to the first token, a hundredth a token, nothing left to chance.
STEADY = Latency(0.5, 0.0, 0.01, 0.0)
WIRES = ["azure", "openai", "anthropic"]


def steady_deployment(wire="azure", **more) -> SimulatedDeployment:
    return SimulatedDeployment("d", "gpt-4o", wire, latency=STEADY, **more)


def run_call(request, spec: SimulatedDeployment, *faults: Fault):
    """(events, seconds of each) of one call, and the world afterwards."""

    async def scenario(world, loop):
        begin, seen = loop.time(), []
        async for event in make_adapter(world, spec).chat(request):
            seen.append((event, round(loop.time() - begin, 6)))
        return seen, world

    return run_on_virtual_time(scenario, spec, faults=faults)


def run_failing_call(request, spec: SimulatedDeployment, *faults: Fault):
    """(error, seconds, events before it) of a call that fails."""

    async def scenario(world, loop):
        begin, seen = loop.time(), []
        with pytest.raises(errors.ProviderError) as caught:
            async for event in make_adapter(world, spec).chat(request):
                seen.append(event)
        return caught.value, round(loop.time() - begin, 6), seen

    return run_on_virtual_time(scenario, spec, faults=faults)


def count_words(events) -> int:
    return sum(event.text.count("word") for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("wire", WIRES)
def test_streams_on_time(wire) -> None:
    seen, world = run_call(make_request(100, 21), steady_deployment(wire))
    events = [event for event, _ in seen]
    assert_valid_stream(events)
    assert count_words(events) == 21
    times = [at for event, at in seen if isinstance(event, TextDelta) and event.text]
    # The first token alone, then four an event.
    assert times == [0.5, 0.54, 0.58, 0.62, 0.66, 0.7]
    state = world.state()["d/gpt-4o"]
    assert (state["answered"], state["in_flight"], state["output"]) == (1, 0, 21)


@pytest.mark.parametrize("wire", WIRES)
def test_a_whole_answer_comes_at_the_end_of_the_same_time(wire) -> None:
    seen, _ = run_call(make_request(100, 21, stream=False), steady_deployment(wire))
    assert {at for _, at in seen} == {0.71}
    assert count_words(event for event, _ in seen) == 21


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wire", WIRES)
def test_counts_tokens_as_the_marker_says(wire, stream) -> None:
    async def play(world, loop):
        return await collect(
            make_adapter(world, steady_deployment(wire)).chat(make_request(1234, 30, stream=stream))
        )

    answer = run_on_virtual_time(play, steady_deployment(wire))
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1234, 30)
    assert answer.reason is FinishReason.STOP


@pytest.mark.parametrize("wire", WIRES)
def test_the_limit_cuts_the_answer_off(wire) -> None:
    async def play(world, loop):
        return await collect(
            make_adapter(world, steady_deployment(wire)).chat(make_request(10, 30, max_tokens=12))
        )

    answer = run_on_virtual_time(play, steady_deployment(wire))
    assert (answer.usage.output_tokens, answer.reason) == (12, FinishReason.LENGTH)


def test_long_prompts_take_longer() -> None:
    slow = SimulatedDeployment("d", latency=Latency(0.5, 0.0, 0.01, 0.0, per_token_s=1e-4))
    seen, _ = run_call(make_request(10_000, 1), slow)
    assert seen[-1][1] == 1.5


def test_draws_have_the_median_and_tail_that_were_asked_for() -> None:
    drawn = Latency(0.9, 0.3, 0.01, tail_chance=0.05, tail_factor=20.0)

    async def play(world, loop):
        provider = make_adapter(world, spec)

        async def one(_):
            begin = loop.time()
            async for event in provider.chat(make_request(1, 1)):
                if isinstance(event, TextDelta):
                    return loop.time() - begin

        return await asyncio.gather(*map(one, range(600)))

    spec = SimulatedDeployment("d", latency=drawn)
    times = run_on_virtual_time(play, spec)
    assert statistics.median(times) == pytest.approx(0.92, rel=0.05)
    assert sum(t > 4 for t in times) / len(times) == pytest.approx(0.05, abs=0.025)


def test_measured_rows_are_drawn_as_they_are() -> None:
    spec = SimulatedDeployment(
        "d", latency=Latency(1, 1, 1, 0.0, samples=((0.25, 0.1),)), tokens_per_frame=1
    )
    seen, _ = run_call(make_request(9, 3), spec)
    assert [at for event, at in seen if isinstance(event, TextDelta)] == [0.25, 0.35, 0.45]


def test_a_full_ptu_deployment_refuses_with_the_exact_wait() -> None:
    # 1,000 a second and one second deep; 1,500 fill it half over.
    spec = steady_deployment(capacity=Ptu(24, 2500, 3.0, depth_s=1.0))

    async def play(world, loop):
        provider = make_adapter(world, spec)
        first = provider.chat(make_request(1200, 100, max_tokens=100))
        assert isinstance(await anext(first), Started)
        with pytest.raises(errors.RateLimited) as caught:
            await anext(provider.chat(make_request(1, 1, max_tokens=1)))
        await asyncio.sleep(caught.value.retry_after - 0.005)
        second = await collect(provider.chat(make_request(1, 1, max_tokens=1)))
        await first.aclose()
        return caught.value, second, world.state()["d/gpt-4o"]

    error, second, state = run_on_virtual_time(play, spec)
    # Half a second passed before the first answer's head, so 1,000 were left: 100 % exactly.
    assert error.retry_after == pytest.approx(0.05)
    assert second.usage.output_tokens == 1
    assert (state["requests"], state["refused"], state["broken_off"]) == (3, 1, 1)


def test_leaving_gives_back_what_was_not_written() -> None:
    spec = steady_deployment(capacity=Ptu(24, 2500, 3.0, depth_s=100.0), tokens_per_frame=1)

    async def play(world, loop):
        source = make_adapter(world, spec).chat(make_request(0, 1000, max_tokens=10_000))
        begin = loop.time()
        async for _ in source:
            if loop.time() - begin > 0.995:
                break
        await source.aclose()
        return world.state()["d/gpt-4o"]

    state = run_on_virtual_time(play, spec)
    # A token at once and fifty in the half second after: 153, of which a second drained all.
    assert state["output"] == 51
    assert state["utilisation"] == pytest.approx(0.0)
    assert state["in_flight"] == 0


def test_a_quota_refuses_in_its_vendors_way() -> None:
    spec = steady_deployment("anthropic", capacity=Payg(tpm=600))
    error, _, _ = run_failing_call(make_request(500, 10, max_tokens=200), spec)
    assert isinstance(error, errors.RateLimited)
    assert error.retry_after == pytest.approx(1.0, abs=1.0)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("dead"), errors.UpstreamUnavailable),
        (Fault("refused"), errors.UpstreamUnavailable),
        (Fault("silent"), errors.UpstreamTimeout),
        (Fault("status", status=400), errors.InvalidRequest),
        (Fault("status", status=401), errors.UpstreamAuth),
        (Fault("status", status=403), errors.UpstreamAuth),
        (Fault("status", status=404), errors.ModelMissing),
        (Fault("status", status=429), errors.RateLimited),
        (Fault("status", status=500), errors.UpstreamUnavailable),
        (Fault("status", status=503), errors.Overloaded),
        (Fault("status", status=504), errors.UpstreamTimeout),
        (Fault("status", status=529), errors.Overloaded),
        (Fault("insufficient_quota"), errors.QuotaExhausted),
        (Fault("overloaded"), errors.Overloaded),
        (Fault("overloaded", after=2), errors.Overloaded),
        (Fault("stall"), errors.UpstreamTimeout),
        (Fault("cut", after=1), errors.UpstreamUnavailable),
        (Fault("reset"), errors.UpstreamUnavailable),
        (Fault("garbage", after=1), errors.UpstreamProtocol),
        (Fault("html"), errors.UpstreamProtocol),
    ],
    ids=lambda value: f"{value.kind}{value.status}" if isinstance(value, Fault) else "",
)
def test_every_fault_is_the_error_that_the_adapter_makes_of_it(wire, fault, kind) -> None:
    error, _, _ = run_failing_call(make_request(10, 50), steady_deployment(wire), fault)
    assert type(error) is kind


def test_only_openai_and_azure_have_a_content_filter_in_front() -> None:
    error, _, _ = run_failing_call(
        make_request(), steady_deployment("azure"), Fault("content_filter")
    )
    assert type(error) is errors.ContentBlocked


@pytest.mark.parametrize("wire", WIRES)
def test_the_filter_may_end_an_answer(wire) -> None:
    seen, _ = run_call(
        make_request(10, 50), steady_deployment(wire), Fault("content_filter", after=3)
    )
    assert seen[-1][0].reason is FinishReason.CONTENT_FILTER
    assert count_words(event for event, _ in seen) == 9


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("after", [0, 2])
def test_truncation_is_silent(wire, after) -> None:
    seen, world = run_call(
        make_request(10, 50), steady_deployment(wire), Fault("truncate", after=after)
    )
    assert count_words(event for event, _ in seen) == (0, 1, 5)[after]
    with pytest.raises(ValueError, match="no end"):
        run_on_virtual_time(
            lambda world, loop: collect(
                make_adapter(world, steady_deployment(wire)).chat(make_request(10, 50))
            ),
            steady_deployment(wire),
            faults=[Fault("truncate", after=after)],
        )
    state = world.state()["d/gpt-4o"]
    assert (state["faulted"], state["answered"], state["in_flight"]) == (1, 0, 0)


@pytest.mark.parametrize("wire", WIRES)
def test_pings_go_on_for_ever_and_say_nothing(wire) -> None:
    spec = steady_deployment(wire)

    async def play(world, loop):
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                async for event in make_adapter(world, spec).chat(make_request(10, 50)):
                    seen.append(event)
        return seen

    assert count_words(run_on_virtual_time(play, spec, faults=[Fault("pings", after=2)])) == 5


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["truncate", "garbage", "empty", "reset", "cut", "stall"])
def test_whole_answers_break_too(wire, fault) -> None:
    error, _, _ = run_failing_call(
        make_request(10, 50, stream=False), steady_deployment(wire), Fault(fault)
    )
    known = {"reset": "upstream_unavailable", "cut": "upstream_unavailable"}
    expected = known.get(fault, "upstream_timeout" if fault == "stall" else "upstream_protocol")
    assert error.code == expected


def test_an_empty_stream_has_no_events() -> None:
    seen, _ = run_call(make_request(), steady_deployment(), Fault("empty"))
    assert seen == []


def test_slowness_multiplies() -> None:
    seen, _ = run_call(
        make_request(9, 5), steady_deployment(), Fault("slow", factor=2), Fault("slow", factor=5)
    )
    assert [at for event, at in seen if isinstance(event, TextDelta)] == [5.0, 5.4]


def test_a_full_deployment_may_spill_instead_of_refusing() -> None:
    spec = steady_deployment(capacity=Ptu(24, 2500, 3.0, depth_s=1.0), region="eastus")

    async def play(world, loop):
        plays = [world.respond("POST", "/d/v1/chat/completions", BODY) for _ in range(2)]
        return [dict(p.headers) for p in plays], world.state()[spec.id]

    headers, state = run_on_virtual_time(play, spec, faults=[Fault("spillover")])
    assert headers[0]["azure-openai-deployment-utilization"] == "300.0%"
    assert "x-ms-spillover-from-deployment" not in headers[0]
    assert headers[1]["x-ms-spillover-from-deployment"] == "gpt-4o"
    assert headers[1]["x-ms-spillover-error"] == "429"
    assert (state["spilled"], state["refused"]) == (1, 0)


BODY = b'{"model":"gpt-4o","messages":[{"content":"[sim in=3000 out=5]"}],"max_tokens":0}'


def test_retry_after_is_returned_as_configured() -> None:
    fault = Fault("status", status=429, retry_after="Wed, 21 Oct 2099 07:28:00 GMT")
    odd = Fault("status", status=429, retry_after="NaN", retry_after_ms="-1")

    async def play(world, loop):
        return world.respond("POST", "/d/v1/chat/completions", BODY).headers

    assert run_on_virtual_time(play, steady_deployment(), faults=[fault])["retry-after"].startswith(
        "Wed"
    )
    headers = run_on_virtual_time(play, steady_deployment(), faults=[odd])
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("NaN", "-1")


@pytest.mark.parametrize("wire", WIRES)
def test_a_probe_meets_the_faults_of_its_deployment(wire) -> None:
    async def play(world, loop):
        provider = make_adapter(world, steady_deployment(wire))
        with pytest.raises(errors.UpstreamUnavailable):
            await provider.probe()
        world.set_faults([])
        await provider.probe()
        return world.state()["d/gpt-4o"]["requests"]

    assert run_on_virtual_time(play, steady_deployment(wire), faults=[Fault("dead")]) == 0


def test_utilisation_header_is_optional() -> None:
    async def play(world, loop):
        return world.respond("POST", "/d/v1/chat/completions", BODY).headers

    reporting, silent = (
        run_on_virtual_time(play, steady_deployment(capacity=Ptu(reports_utilisation=tells)))
        for tells in (True, False)
    )
    assert "azure-openai-deployment-utilization" in reporting
    assert "azure-openai-deployment-utilization" not in silent


def test_the_transport_in_memory_keeps_to_the_contract() -> None:
    async def play(world, loop):
        runtime = SimulatedRuntime(world, SilentLog())
        transport = runtime.http(ProviderSettings(base_url="http://simulated/d/v1/"))
        request = {"model": "gpt-4o", "messages": [], "max_tokens": 5}
        async with transport.stream("POST", "/chat/completions", json=request) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
            assert b'"completion_tokens":5' in await reply.aread()
        async with transport.stream("POST", "/chat/completions", json=request) as reply:
            with pytest.raises(errors.UpstreamProtocol, match="over 10 bytes"):
                await reply.aread(10)
        async with transport.stream("POST", "/chat/completions", content=b"no JSON") as reply:
            assert reply.status == 400
        await transport.aclose()
        assert runtime.now() == loop.time()
        assert isinstance(runtime.log, SilentLog)

    run_on_virtual_time(play, steady_deployment())


def test_a_seed_in_the_request_draws_the_same_times_whoever_was_asked_before() -> None:
    lively = SimulatedDeployment("d", "gpt-4o", "azure", latency=Latency(0.5, 0.8, 0.01, 0.0))

    def first_s(seed: int | None, before: int) -> float:
        async def play(world, loop):
            for _ in range(before):
                await collect(make_adapter(world, lively).chat(make_request(10, 5)))
            begin = loop.time()
            async for event in make_adapter(world, lively).chat(make_request(10, 5, seed=seed)):
                if isinstance(event, TextDelta):
                    return round(loop.time() - begin, 6)

        return run_on_virtual_time(play, lively)

    assert first_s(7, before=0) == first_s(7, before=3)
    assert first_s(7, before=0) != first_s(8, before=0)
    assert first_s(None, before=0) != first_s(None, before=3)
