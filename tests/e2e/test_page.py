"""The page at `/` in a real browser."""

import shutil
from collections.abc import AsyncIterator

import httpx2
import pytest
from playwright.async_api import Page, async_playwright, expect

from support.server import Running, serving

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABELS = {"ko": "관련 링크", "en": "Related links", "ja": "関連リンク"}


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving() as running:
        yield running


@pytest.fixture
async def page(running: Running) -> AsyncIterator[Page]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(locale="ko-KR")
        page.asked = []  # type: ignore[attr-defined]
        page.faults = []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.faults.append(str(error)))  # type: ignore[attr-defined]
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)  # type: ignore[attr-defined]
        await page.goto(running.url)
        await expect(page.locator(".chip")).to_have_count(4)
        yield page
        assert page.faults == []  # type: ignore[attr-defined]
        assert all(url.startswith((running.url, "data:")) for url in page.asked)  # type: ignore[attr-defined]
        await browser.close()


async def test_typing_changes_chips_and_links(page: Page) -> None:
    await page.get_by_label("무엇이 궁금하세요?").fill("연말정산 처음인데")
    await expect(page.locator(".chip").first).to_contain_text("연말정산")
    await expect(page.locator(".card a").first).to_have_text("홈택스")


async def test_a_chip_fills_its_exact_prompt_and_does_not_send_it(page: Page) -> None:
    chip = page.locator(".chip").first
    prompt = await chip.get_attribute("title")
    await chip.click()
    await expect(page.locator("#query")).to_have_value(prompt or "?")
    await expect(page.locator("#query")).to_be_focused()
    await expect(page.locator("#answer-section")).to_be_hidden()


async def test_asking_streams_an_answer(page: Page) -> None:
    await page.locator("#query").fill("서울 지하철")
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer")).to_contain_text("내장된 모델")


async def test_what_was_seen_and_tapped_is_reported_once(page: Page, running: Running) -> None:
    await page.locator(".chip").nth(1).click()

    async def rates() -> dict[tuple[str, int], tuple[int, int]]:
        return {
            (rate.part, rate.position): (rate.impressions, rate.clicks)
            for rate in await running.hamlet.screen.events.rates()
        }

    while len(await rates()) < 10:
        await page.wait_for_timeout(50)
    seen = await rates()
    assert seen["chips", 2] == (1, 1)
    assert seen["chips", 1] == seen["links", 6] == (1, 0)


async def test_every_language_is_whole(page: Page) -> None:
    for lang, label in LABELS.items():
        await page.locator(f"[data-lang={lang}]").click()
        await expect(page.locator("html")).to_have_attribute("lang", lang)
        await expect(page.locator("#links-title")).to_have_text(label)
        await expect(page.locator(f".chip[lang={lang}]")).to_have_count(4)


async def test_links_are_the_apis_and_only_those(page: Page, running: Running) -> None:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        shown = (await http.get("/v1/main-screen?lang=ko")).json()
    known = {link["url"] for link in shown["links"]["items"]}
    links = page.locator(".card a")
    hrefs = {await links.nth(i).get_attribute("href") for i in range(await links.count())}
    assert hrefs == known


async def test_a_link_may_fill_the_composer_but_not_send(page: Page, running: Running) -> None:
    await page.goto(f"{running.url}/?q=<img src=x onerror=alert(1)>")
    await expect(page.locator("#query")).to_have_value("<img src=x onerror=alert(1)>")
    await expect(page.locator("#answer-section")).to_be_hidden()
    await expect(page.locator("img")).to_have_count(0)


async def test_nothing_scrolls_sideways_on_a_small_phone(page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
