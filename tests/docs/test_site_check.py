"""The check of the built site finds dead links and external assets."""

from pathlib import Path

from deploy.docsite.check import find_problems
from deploy.docsite.publish import publish

GOOD = '<a href="b/#there">b</a><a href="https://example.com/x">out</a><img src="p.png">'
BAD = """
<a href="b/#gone">anchor</a> <a href="c/">page</a> <img src="q.png">
<script src="https://cdn.example.com/x.js"></script>
<link rel="preconnect" href="https://fonts.example.com"> <link rel="canonical" href="https://x.example.com">
"""


def make_site(folder: Path, index_html: str) -> Path:
    (folder / "b").mkdir()
    (folder / "b/index.html").write_text('<h2 id="there">There</h2><a href="..">up</a>')
    (folder / "p.png").write_bytes(b"")
    (folder / "index.html").write_text(index_html)
    return folder


def test_valid_site_has_no_problems(tmp_path: Path) -> None:
    assert list(find_problems(make_site(tmp_path, GOOD))) == []


def test_dead_links_anchors_and_external_assets_are_reported(tmp_path: Path) -> None:
    assert sorted(find_problems(make_site(tmp_path, BAD))) == [
        "/: b/#gone: no such anchor on the page",
        "/: c/ has no target",
        "/: loads https://cdn.example.com/x.js",
        "/: loads https://fonts.example.com",
        "/: loads q.png, which does not exist",
    ]


def test_linked_repository_files_are_published(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/x.yaml").write_text("x: 1")
    (tmp_path / "site").mkdir()
    made = make_site(tmp_path / "site", GOOD)
    page = made / "b/index.html"
    page.write_text(
        '<h2 id="there"></h2><a href="../../deploy/x.yaml">x</a><a href="../../no.yaml">n</a>'
    )
    assert publish(made, tmp_path) == ["deploy/x.yaml"]
    assert '<a href="../repository/deploy/x.yaml">' in page.read_text()
    assert (made / "repository/deploy/x.yaml").read_text() == "x: 1"
    assert list(find_problems(made)) == ["/b/: ../../no.yaml has no target"]
