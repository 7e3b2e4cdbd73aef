"""Listing of models, and probes."""

import pytest

from hamlet.core import (
    errors,
)
from hamlet.providers.anthropic import Anthropic, AnthropicSettings
from hamlet.providers.openai import OpenAI, Settings
from hamlet.testing import json_reply


@pytest.mark.parametrize(
    "make",
    [
        lambda u, h: OpenAI(Settings(base_url=u), h),
        lambda u, h: Anthropic(AnthropicSettings(base_url=u), h),
    ],
)
async def test_lists_models_and_probes(upstream, host, make) -> None:
    provider = make(upstream.url, host)
    upstream.reply(json_reply({"data": [{"id": "m-1"}]}))
    assert await provider.models() == ["m-1"]
    await provider.probe()
    upstream.reply(json_reply([]))
    with pytest.raises(errors.UpstreamProtocol):
        await provider.models()
    upstream.reply(json_reply({}, 503))
    with pytest.raises(errors.Overloaded):
        await provider.probe()
