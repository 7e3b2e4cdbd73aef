"""A real Chromium, and what a page did in it."""

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
    # A bound against hanging: how long a busy machine takes is not what is tested.
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
    """A page that must ask nobody but `origin`, and log no error."""
    context = await browser.new_context(**{"locale": "ko-KR", **context_options})
    page = await context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    yield page
    assert faults == []
    assert all(url.startswith((origin, "data:")) for url in asked), asked
    await context.close()
