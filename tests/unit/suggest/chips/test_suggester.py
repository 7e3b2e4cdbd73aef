"""Chips of a model: they must be about the context."""

from hamlet.suggest import ChipBank, ChipSuggester, SwrCache
from hamlet.suggest.chips import suggester as suggester_module
from hamlet.suggest.model import Draft, SuggestRequest
from hamlet.suggest.section_result import SectionResult


async def test_ungrounded_drafts_of_a_model_are_rejected(monkeypatch) -> None:
    class Writer:
        async def write(self, request: SuggestRequest, drafts: list[Draft]) -> None:
            drafts.append(Draft("화성 이주 상품 비교", "화성 이주 상품을 비교해줘", "compare"))

    cache: SwrCache[Draft] = SwrCache(fresh_s=60, stale_s=60)
    bank = ChipBank()
    suggester = ChipSuggester(lambda: bank, Writer(), cache, lambda *parts: "\n".join(parts))
    request = SuggestRequest("ko", query="서울 지하철 막차")
    fetch = suggester.start_fetch(request, is_crisis=False)
    assert fetch is not None
    assert fetch.entry.task is not None
    await fetch.entry.task
    local = await suggester.local(request, is_crisis=False, pin=None)

    async def texts() -> list[str]:
        merged: SectionResult = await suggester.merged(request, local, fetch)
        return [chip.text for chip in merged.section.items]

    assert "화성 이주 상품 비교" not in await texts()
    monkeypatch.setattr(suggester_module, "is_grounded", lambda *_: True)
    assert "화성 이주 상품 비교" in await texts()
