"""The page at `/` in a real browser."""

from collections.abc import AsyncIterator
from html import escape

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from hamlet.testing import LoopbackUpstream, json_reply
from support.browser import launch_chromium, open_checked_page
from support.paths import NODE
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, RunningServer, run_server

LABELS = {"ko": "관련 링크", "en": "Related links", "ja": "関連リンク"}
AXE = NODE / "node_modules/axe-core/axe.min.js"
DEMO = EMBEDDED_PROVIDER + EMBEDDED_ROUTES + "suggest: {demo: true}\n"
LAYOUT_SHIFT_SCRIPT = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


@pytest.fixture
async def running() -> AsyncIterator[RunningServer]:
    async with run_server() as running:
        yield running


@pytest.fixture
async def demo() -> AsyncIterator[RunningServer]:
    async with run_server(DEMO) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with launch_chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, running: RunningServer) -> AsyncIterator[Page]:
    async with open_checked_page(browser, running.url) as page:
        await page.goto(running.url)
        await wait_until_rendered(page)
        yield page


async def wait_until_rendered(page: Page) -> None:
    """Wait until the scripts have rendered the response of the API."""
    await expect(page.locator(".chip[type=button]")).to_have_count(4)


async def test_typing_changes_chips_and_links(page: Page) -> None:
    await page.get_by_label("무엇이 궁금하세요?").fill("연말정산 처음인데")
    await expect(page.locator(".chip").first).to_contain_text("연말정산")
    await expect(page.locator(".card a").first).to_have_text("홈택스")
    await expect(page.locator("#status")).to_contain_text("내장 검색")


async def test_chip_fills_its_prompt_without_sending_it(page: Page) -> None:
    chip = page.locator(".chip").first
    prompt = await chip.get_attribute("title")
    await chip.click()
    await expect(page.locator("#query")).to_have_value(prompt or "?")
    await expect(page.locator("#query")).to_be_focused()
    await expect(page.locator("#answer-section")).to_be_hidden()


async def test_page_is_keyboard_accessible(page: Page) -> None:
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.locator("#query").focus()
    await page.keyboard.type("서울 지하철 막차 시간")
    await expect(page.locator("#status")).to_contain_text("내장 검색")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    chip = page.locator(".chip").first
    await expect(chip).to_be_focused()
    prompt = await chip.get_attribute("title")
    await page.keyboard.press("Enter")
    await expect(page.locator("#query")).to_have_value(prompt or "?")
    await expect(page.locator("#query")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer")).to_contain_text("내장된 모델")
    await expect(page.locator("html")).to_have_attribute("lang", "ko")


async def test_impressions_and_clicks_are_reported_once(page: Page, running: RunningServer) -> None:
    await page.locator(".chip").nth(1).click()

    async def rates() -> dict[tuple[str, int], tuple[int, int]]:
        return {
            (rate.part, rate.position): (rate.impressions, rate.clicks)
            for rate in await running.hamlet.main_screen.events.click_rates()
        }

    while len(await rates()) < 10:
        await page.wait_for_timeout(50)
    seen = await rates()
    assert seen["chips", 2] == (1, 1)
    assert seen["chips", 1] == seen["links", 6] == (1, 0)
    await expect(page.locator("#counters")).to_have_text("10 · 1 · 10 %")


async def test_every_language_is_complete(page: Page) -> None:
    for lang, label in LABELS.items():
        await page.locator(f"#languages [value={lang}]").click()
        await expect(page.locator("html")).to_have_attribute("lang", lang)
        await expect(page.locator("#links-title")).to_have_text(label)
        await expect(page.locator(f".chip[lang={lang}]")).to_have_count(4)
        await expect(page.locator("#samples button")).to_have_count(4)


async def test_links_are_exactly_those_of_the_api(page: Page, running: RunningServer) -> None:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        shown = (await http.get("/v1/main-screen?lang=ko")).json()
    known = {link["url"] for link in shown["links"]["items"]}
    links = page.locator(".card a")
    hrefs = {await links.nth(i).get_attribute("href") for i in range(await links.count())}
    assert hrefs == known


async def test_url_query_fills_the_composer_without_sending(
    page: Page, running: RunningServer
) -> None:
    await page.goto(f"{running.url}/?q=<img src=x onerror=alert(1)>")
    await expect(page.locator("#query")).to_have_value("<img src=x onerror=alert(1)>")
    await expect(page.locator("#answer-section")).to_be_hidden()
    await expect(page.locator("img")).to_have_count(0)


MARKUP = "<img src=x onerror=alert(1)>"


async def test_markup_from_a_web_search_is_shown_as_text(browser: Browser) -> None:
    row = {"title": f"{escape(MARKUP)} 막차", "url": "https://x.example/", "content": "지하철 막차"}
    async with LoopbackUpstream() as web:
        web.reply(json_reply({"results": [row]}))
        source = f"suggest: {{sources: {{w: {{kind: searxng, base_url: '{web.url}'}}}}}}\n"
        async with run_server(EMBEDDED_PROVIDER + EMBEDDED_ROUTES + source) as running:
            async with open_checked_page(browser, running.url) as page:
                await page.goto(running.url)
                await page.locator("#query").fill(f"지하철 막차 {MARKUP}")
                await expect(page.locator(".card a").first).to_have_text(f"{MARKUP} 막차")
                await expect(page.locator("img")).to_have_count(0)


@pytest.mark.parametrize("width", [320, 640, 1280])
async def test_page_never_scrolls_horizontally(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 640})
    await page.locator(".hood summary").click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_sample_sets_a_context_that_can_be_cleared(page: Page) -> None:
    await page.get_by_role("button", name="기사를 읽을 때").click()
    await expect(page.locator("#context-text")).to_contain_text("장미")
    await expect(page.locator(".chip", has_text="장미").first).to_be_visible()
    await page.locator("#context-clear").click()
    await expect(page.locator("#context")).to_be_hidden()
    await expect(page.locator("#status")).to_contain_text("첫 화면 추천")


async def test_page_shows_curl_command_and_response(page: Page, running: RunningServer) -> None:
    await page.locator("#query").fill("it's a test")
    await expect(page.locator("#curl")).to_contain_text("it'\\''s a test")
    await expect(page.locator("#response")).to_contain_text('"tier"')


async def test_page_works_without_scripts(browser: Browser, running: RunningServer) -> None:
    async with open_checked_page(browser, running.url, java_script_enabled=False) as page:
        await page.goto(running.url)
        await expect(page.locator(".chip")).to_have_count(4)
        await page.locator("#languages [value=en]").click()
        await expect(page.locator("#links-title")).to_have_text("Related links")
        await page.locator("#query").fill("how do vaccines work")
        await page.keyboard.press("Enter")
        await expect(page.locator(".chip").first).to_contain_text("accine")
        prompt = await page.locator(".chip").first.get_attribute("title")
        await page.locator(".chip").first.click()
        await expect(page.locator("#query")).to_have_value(prompt or "?")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await page.goto(f"{running.url}/?q=%22><script>alert(1)</script>")
        await expect(page.locator("#query")).to_have_value('"><script>alert(1)</script>')


async def test_demo_mode_shows_each_tier(browser: Browser, demo: RunningServer) -> None:
    async with open_checked_page(browser, demo.url) as page:
        await page.goto(demo.url)
        await page.locator("#query").fill("서울 지하철 막차 시간")
        await expect(page.locator("#status")).to_contain_text("모델이 작성")
        await expect(page.locator("#status")).to_contain_text("웹 검색")
        for fault in ("down", "garbage", "429"):
            await page.locator(f"[data-trouble=llm-{fault}]").click()
            await page.locator(f"[data-trouble=web-{fault}]").click()
            await expect(page.locator("#status")).to_contain_text(
                "추천 질문: 내장 검색 · 링크: 내장"
            )
            await expect(page.locator(".chip[type=button]")).to_have_count(4)
        await page.locator("[data-trouble=llm-none]").click()
        await expect(page.locator("#status")).to_contain_text("모델이 작성")


@pytest.mark.parametrize("width", [320, 1280])
async def test_no_layout_shift_when_results_improve(
    browser: Browser, demo: RunningServer, width: int
) -> None:
    async with open_checked_page(
        browser, demo.url, viewport={"width": width, "height": 720}
    ) as page:
        await page.add_init_script(LAYOUT_SHIFT_SCRIPT)
        await page.goto(demo.url)
        await wait_until_rendered(page)
        await page.locator("#query").press_sequentially("서울 지하철 막차", delay=60)
        await expect(page.locator("#status")).to_contain_text("모델이 작성")
        assert await page.evaluate("window.shift") < 0.05


# In the turn in which the first items are rendered: better ones may arrive at any time.
TOUCH_SCRIPT = """() => {
    const row = document.querySelector("#chips");
    window.touched = new Promise((done) => {
        new MutationObserver((_, itself) => {
            const chip = row.querySelector(".chip");
            if (!chip) return;
            itself.disconnect();
            chip.dispatchEvent(new Event("pointerdown", {bubbles: true}));
            done(row.innerText);
        }).observe(row, {childList: true, subtree: true});
    });
}"""


async def test_touched_chips_are_not_replaced(browser: Browser, demo: RunningServer) -> None:
    async with open_checked_page(browser, demo.url) as page:
        await page.goto(demo.url)
        await wait_until_rendered(page)
        await page.evaluate(TOUCH_SCRIPT)
        await page.locator("#query").fill("서울 지하철 막차")
        before = await page.evaluate("window.touched")
        assert "막차" in before
        await expect(page.locator("#status")).to_contain_text("모델이 작성")
        assert await page.locator("#chips").inner_text() == before


async def test_page_prompts_for_an_api_key(browser: Browser, monkeypatch) -> None:
    monkeypatch.setenv("TEST_PAGE_KEY", "k-page")
    keys = "keys: [{name: page, secret: env:TEST_PAGE_KEY}]\n"
    async with run_server(keys + EMBEDDED_PROVIDER + EMBEDDED_ROUTES) as running:
        context = await browser.new_context(locale="ko-KR")
        page = await context.new_page()
        await page.goto(running.url)
        await expect(page.get_by_label("API 키")).to_be_visible()
        await expect(page.locator(".chip[type=button]")).to_have_count(0)
        await page.get_by_label("API 키").fill("k-page")
        await page.keyboard.press("Enter")
        await wait_until_rendered(page)
        await context.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("lang", LABELS)
async def test_no_serious_accessibility_finding(
    browser: Browser, demo: RunningServer, lang: str, scheme: str
) -> None:
    async with open_checked_page(browser, demo.url, color_scheme=scheme, bypass_csp=True) as page:
        await page.goto(f"{demo.url}/?lang={lang}")
        await wait_until_rendered(page)
        await page.locator(".hood summary").click()
        await page.locator("#samples button").nth(2).click()
        await page.locator("#query").fill("x")
        await page.keyboard.press("Enter")
        await expect(page.locator("#answer")).not_to_be_empty()
        await page.add_script_tag(path=AXE)
        for width in (1280, 320):
            await page.set_viewport_size({"width": width, "height": 720})
            found = await page.evaluate("axe.run()")
            serious = [
                (v["id"], v["nodes"][0]["html"])
                for v in found["violations"]
                if v["impact"] in ("serious", "critical")
            ]
            assert serious == [], width
