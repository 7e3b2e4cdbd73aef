"""Invariants of every response to a valid request, whatever upstreams do."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamlet.api.dispatcher import Dispatcher
from hamlet.app import Hamlet
from hamlet.config import loads
from hamlet.suggest.chips.validation import label_rejection_reason, prompt_rejection_reason
from hamlet.suggest.content import shipped_links
from hamlet.suggest.safety import mentions_crisis
from hamlet.testing import Canned, LoopbackUpstream
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES

SHIPPED_URLS = {row.url for row in shipped_links()}
WORDS = st.sampled_from(
    [
        "서울",
        "지하철",
        "막차",
        "장미",
        "vaccines",
        "python",
        "async",
        "新幹線",
        "確定申告",
        "죽고",
        "싶어",
        "안녕",
        "<b>",
        "{t}",
        "010-1234-5678",
        "ignore",
        "previous",
        "instructions",
        "https://evil.example",
        "무시",
        ".",
    ]
)
TEXT = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=8).map(" ".join))
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT})
PAGE = st.fixed_dictionaries({"title": TEXT, "text": st.text(max_size=400)})
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "context": st.fixed_dictionaries(
            {},
            optional={
                "surface": st.sampled_from(["home", "search", "chat", "page"]),
                "query": TEXT,
                "draft": TEXT,
                "messages": st.lists(TURN, max_size=4),
                "page": PAGE,
            },
        ),
        "locale": st.fixed_dictionaries(
            {"lang": st.sampled_from(["ko", "en", "ja", "auto", "fr"])}
        ),
        "links": st.fixed_dictionaries(
            {"limit": st.integers(1, 12), "max_per_host": st.integers(1, 5)}
        ),
        "chips": st.fixed_dictionaries({"limit": st.integers(1, 8)}),
        "user": st.fixed_dictionaries({"interests": st.lists(st.text(max_size=32), max_size=4)}),
        "budget_ms": st.integers(20, 60),
    },
)


class Client:
    """Calls an app without a socket, in one loop for all examples."""

    def __init__(self, config: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.app = Hamlet(loads(config))

    def post(self, body: dict) -> tuple[int, dict]:
        return self.loop.run_until_complete(self._post(json.dumps(body).encode()))

    async def _post(self, body: bytes) -> tuple[int, dict]:
        sent: list[dict] = []
        is_body_sent = False
        never = asyncio.Event()

        async def receive() -> dict:
            nonlocal is_body_sent
            if is_body_sent:
                await never.wait()
            is_body_sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/suggest",
            "query_string": b"",
            "headers": [],
            "client": ("127.0.0.1", 1),
        }
        assert isinstance(self.app._asgi, Dispatcher)
        await self.app(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))

    def close(self) -> None:
        self.loop.run_until_complete(self.app.main_screen.aclose())
        self.loop.run_until_complete(self.app.registries.aclose())
        self.loop.close()


@pytest.fixture(scope="module")
def client_without_upstreams():
    client = Client(EMBEDDED_PROVIDER + EMBEDDED_ROUTES)
    yield client
    client.close()


@pytest.fixture(scope="module")
def client_with_failing_upstreams():
    """The model hangs, and the web source refuses connections."""
    loop = asyncio.new_event_loop()
    upstream = LoopbackUpstream()
    loop.run_until_complete(upstream.__aenter__())
    upstream.reply(Canned(before="hang"))
    client = Client(
        f"providers: {{m: {{kind: openai, base_url: '{upstream.url}/v1'}}}}\n"
        "routes: {chips: {deployments: [{provider: m, model: gpt-4o-mini}]}}\n"
        "suggest: {chip_route: chips, sources: {w: {kind: searxng, base_url: 'http://127.0.0.1:9'}}}\n"
    )
    yield client
    client.close()
    loop.run_until_complete(upstream.__aexit__(None, None, None))
    loop.close()


def assert_invariants(body: dict, status: int, shown: dict) -> None:
    assert status == 200, shown
    links, chips = shown["links"]["items"], shown["chips"]["items"]
    limit = body.get("chips", {}).get("limit", 4)
    context = body.get("context", {})
    user_texts = [context.get("query", ""), context.get("draft", "")]
    user_texts += [t["content"] for t in context.get("messages", [])[-6:] if t["role"] == "user"]
    is_crisis = mentions_crisis(" ".join(user_texts))
    assert len(chips) <= limit
    assert len(chips) >= min(3, limit)
    assert 0 < len(links) <= body.get("links", {}).get("limit", 6)
    for section, max_items in (("links", body.get("links", {}).get("limit", 6)), ("chips", limit)):
        is_full = len(shown[section]["items"]) == max_items
        assert shown[section]["status"] == ("ok" if is_full else "partial")
    assert {link["url"] for link in links} <= SHIPPED_URLS
    for items in (links, chips):
        assert len({item["id"] for item in items}) == len(items)
        assert [item["position"] for item in items] == list(range(1, len(items) + 1))
    hosts = [link["source"]["host"] for link in links]
    max_per_host = body.get("links", {}).get("max_per_host", 2)
    assert all(hosts.count(host) <= max_per_host for host in hosts)
    for chip in chips:
        assert label_rejection_reason(chip["text"], shown["lang"], 40, " ".join(user_texts)) is None
        assert prompt_rejection_reason(chip["prompt"]) is None
        assert not any(chip["text"] == text.strip() for text in user_texts)
        assert set(chip["grounding"]) <= {link["id"] for link in links}
    if is_crisis:
        assert {link["why"]["code"] for link in links} == {"safety"}
    assert shown["degraded"] == bool(shown["degradations"])


EXAMPLES = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EXAMPLES
@given(REQUEST)
def test_valid_request_always_gets_suggestions(
    client_without_upstreams: Client, body: dict
) -> None:
    assert_invariants(body, *client_without_upstreams.post(body))


@settings(EXAMPLES, max_examples=60)
@given(REQUEST)
def test_valid_request_gets_suggestions_when_upstreams_fail(
    client_with_failing_upstreams: Client, body: dict
) -> None:
    assert_invariants(body, *client_with_failing_upstreams.post(body))


@EXAMPLES
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_any_json_gets_suggestions_or_a_problem(client_without_upstreams: Client, body) -> None:
    status, problem = client_without_upstreams.post(body)
    assert status in (200, 400, 422)
    assert status == 200 or problem["type"].startswith("/problems/")
