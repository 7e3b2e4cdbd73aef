"""Draw every dashboard over six hours of generated data: `make pictures` (a minute; Prometheus, Chromium).

The data (loadtest/tools/history) are backfilled into a real Prometheus and the recording rules evaluated
over them, so that the pictures show the dashboards' own expressions.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import yaml

from hamlet.dashboards.build import DASHBOARDS
from hamlet.dashboards.prometheus_query import TimeRange
from hamlet.dashboards.slo import recording_rules
from hamlet.dashboards.snapshot import render_page
from loadtest import ROOT
from loadtest.engine.processes import Process, free_port, wait_until_ready
from loadtest.tools.history import HOURS, openmetrics

_WIDTH, _MARGIN, _ROW = 1160, 130, 30
# Recording rules use the results of others: each pass evaluates one more layer.
_LAYERS = 3


def main(out: Path) -> None:
    """Write one PNG per dashboard."""
    end = time.time() // 7200 * 7200
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "history").open("w") as file:
            file.writelines(openmetrics(end))
        _promtool(folder, "tsdb", "create-blocks-from", "openmetrics", "history", "data")
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": recording_rules()}))
        span = ("--start", f"{end - HOURS * 3600:.0f}", "--end", f"{end:.0f}")
        options = (*span, "--eval-interval", "60s", "--output-dir", "data", "rules.yml")
        for _ in range(_LAYERS):
            with _run_prometheus(folder) as url:
                _promtool(folder, "tsdb", "create-blocks-from", "rules", "--url", url, *options)
        with _run_prometheus(folder) as url, httpx2.Client(base_url=url, timeout=60) as http:
            for board in DASHBOARDS:
                dashboard = board.to_json()
                frame = TimeRange(end - (HOURS - 0.2) * 3600, end, 60)
                html = folder / f"{board.uid}.html"
                html.write_text(render_page([dashboard], http, frame))
                take_screenshot(
                    html, out / f"{board.uid}.png", picture_height_px(dashboard["panels"])
                )
                print(out / f"{board.uid}.png")


def picture_height_px(panels: list[dict[str, dict[str, int]]]) -> int:
    """The height of a picture of these panels, in pixels."""
    below = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    return _MARGIN + _ROW * below + 10 * len(panels) // 6


def _promtool(folder: Path, *args: str) -> None:
    command = (shutil.which("promtool") or "promtool", *args)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


@contextlib.contextmanager
def _run_prometheus(folder: Path) -> Iterator[str]:
    """Prometheus over the blocks in `folder`; its URL."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    command = (
        "prometheus", "--config.file=prometheus.yml", f"--web.listen-address={address}",
        "--storage.tsdb.path=data", "--storage.tsdb.retention.time=90d",
    )  # fmt: skip
    process = Process(command, log=folder / "prometheus.log", cwd=folder)
    try:
        wait_until_ready(f"http://{address}/-/ready", process, 60)
        yield f"http://{address}"
    finally:
        process.stop()


def take_screenshot(html: Path, png: Path, height_px: int) -> None:
    """Write a picture of a page that is `height_px` pixels high."""
    chromium = shutil.which("chromium") or "chromium"
    command = (
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={_WIDTH},{height_px}", f"--screenshot={png.resolve()}", html.as_uri(),
    )  # fmt: skip
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(ROOT / "docs/pictures")
