"""One hamlet over every provider, each behind a loopback vendor."""

from collections.abc import AsyncIterator

import pytest

from hamlet.testing import LoopbackUpstream
from support.loopback_vendor import respond
from support.server import RunningServer, environment, run_server

CONFIG = """
providers:
  openai: {{kind: openai, base_url: "{url}/v1", api_key: env:TEST_VENDOR_KEY}}
  azure: {{kind: openai, base_url: "{url}", api_version: 2024-10-21, api_key: env:TEST_VENDOR_KEY}}
  azure-v1: {{kind: openai, base_url: "{url}/openai/v1", auth: api-key, api_key: env:TEST_VENDOR_KEY}}
  anthropic: {{kind: anthropic, base_url: "{url}", api_key: env:TEST_VENDOR_KEY}}
  vllm: {{kind: openai_compatible, base_url: "{url}/v1"}}
  embedded: {{kind: embedded, tokens_per_s: 0}}
routes:
  openai: {{deployments: [{{provider: openai, model: gpt-4o}}], policy: {{attempts: 1}}}}
  azure: {{deployments: [{{provider: azure, model: gpt-4o}}], policy: {{attempts: 1}}}}
  azure-v1: {{deployments: [{{provider: azure-v1, model: gpt-4o}}], policy: {{attempts: 1}}}}
  anthropic: {{deployments: [{{provider: anthropic, model: claude-sonnet-4-5}}], policy: {{attempts: 1}}}}
  vllm: {{deployments: [{{provider: vllm, model: nova}}], policy: {{attempts: 1}}}}
  embedded: {{deployments: [{{provider: embedded, model: embedded-chat}}]}}
  embed: {{operation: embeddings, deployments: [{{provider: openai, model: text-embedding-3-small}}]}}
  embed-azure: {{operation: embeddings, deployments: [{{provider: azure, model: text-embedding-3-small}}]}}
  embed-embedded: {{operation: embeddings, deployments: [{{provider: embedded, model: embedded-embed}}]}}
"""


@pytest.fixture
async def vendor() -> AsyncIterator[LoopbackUpstream]:
    async with LoopbackUpstream() as upstream:
        upstream.respond(respond)
        yield upstream


@pytest.fixture
async def running(vendor: LoopbackUpstream) -> AsyncIterator[RunningServer]:
    async with environment({"TEST_VENDOR_KEY": "sk-vendor-secret-123456"}):
        async with run_server(CONFIG.format(url=vendor.url)) as running:
            yield running
