"""The order of the steps of a request."""

from hamlet.suggest import ChipBank, ServedContent
from support.suggest import SUGGEST_REQUEST, FakeSource, ServiceFixture


async def test_web_search_starts_before_the_local_answer() -> None:
    order: list[str] = []
    fixture = ServiceFixture()
    fixture.web = FakeSource(lambda: order.append("web"))
    catalogue = FakeSource(lambda: order.append("catalogue"))
    fixture.service.set_content(ServedContent(catalogue, ChipBank()))
    await fixture.service.suggest(SUGGEST_REQUEST)
    assert order[:2] == ["web", "catalogue"]


async def test_second_revision_replaces_local_items() -> None:
    fixture = ServiceFixture()
    first, last = [shown async for shown in fixture.service.revisions(SUGGEST_REQUEST)]
    assert first.id == last.id
    assert (first.links.tier, first.chips.tier) == ("embedded", "embedded")
    assert (last.links.tier, last.chips.tier) == ("web", "llm")


async def test_new_content_clears_cached_responses() -> None:
    fixture = ServiceFixture()
    for _ in range(3):
        await fixture.service.suggest(SUGGEST_REQUEST)
    assert fixture.response_cache._entries
    fixture.service.set_content(ServedContent(fixture.catalogue, ChipBank()))
    assert not fixture.response_cache._entries
