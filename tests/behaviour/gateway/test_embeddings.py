"""Embeddings take the same steps as chat calls."""

import pytest

from hamlet.core import EmbeddingRequest, errors, unpack
from hamlet.gateway import Caller
from hamlet.testing import ScriptedProvider
from support.gateway import GatewayHarness, deployment, fast_policy


async def test_embedding_fails_over() -> None:
    broken = ScriptedProvider([errors.UpstreamUnavailable("down")])
    good = ScriptedProvider([], vectors=[[1.0, 2.0]])
    harness = GatewayHarness([deployment(broken)], [deployment(good, "b")], policy=fast_policy())
    answer = await harness.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert unpack(answer.vectors[0]) == [1.0, 2.0]
    assert harness.observer.ended[0].usage.input_tokens == 1
    assert good.calls[0].model == "m"


@pytest.mark.parametrize("step", [5.0, TimeoutError()])
async def test_embedding_times_out(step: object) -> None:
    harness = GatewayHarness(
        [deployment(ScriptedProvider([step]))], policy=fast_policy(total_s=0.05)
    )  # type: ignore[list-item]
    wanted = errors.UpstreamTimeout if step == 5.0 else errors.UpstreamProtocol
    with pytest.raises(wanted):
        await harness.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert harness.admission.in_flight == 0
