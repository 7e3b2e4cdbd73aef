"""A real Chromium, and checks of what a page does in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from support.programs import find_program

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def launch_chromium() -> AsyncIterator[Browser]:
    """A headless browser. A test that uses it is marked `external("chromium")`."""
    # Long, since these tests do not measure how fast a busy machine is.
    expect.set_options(timeout=60_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_program("chromium"), args=FLAGS
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_checked_page(
    browser: Browser, origin: str, **context_options: Any
) -> AsyncIterator[Page]:
    """A page that sends requests to `origin` alone and logs no error."""
    context = await browser.new_context(**{"locale": "ko-KR", **context_options})
    page = await context.new_page()
    requested: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    yield page
    assert faults == []
    assert all(url.startswith((origin, "data:")) for url in requested), requested
    await context.close()
