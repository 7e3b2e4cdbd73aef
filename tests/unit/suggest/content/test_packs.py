"""Packs: saving, loading, and what is rejected."""

import hashlib
import json

import pytest

from hamlet.suggest.content import load_content, save_health, save_pack
from hamlet.suggest.content.packs import PackError
from hamlet.suggest.content_editor import import_rows

LINK = {"url": "https://example.org/", "title": {"en": "Example"}, "tags": {"en": "sample"}}


def test_saving_adds_or_replaces_rows_by_key(tmp_path) -> None:
    save_pack(
        tmp_path,
        "mine",
        "links",
        import_rows(json.dumps(LINK), "jsonl", "links", "en").accepted,
        "CC0",
        "me",
    )
    changed = (
        json.dumps(LINK | {"title": {"en": "Changed"}})
        + "\n"
        + json.dumps(LINK | {"url": "https://two.example.org/"})
    )
    pack = save_pack(
        tmp_path,
        "mine",
        "links",
        import_rows(changed, "jsonl", "links", "en").accepted,
        "CC0",
        "me",
    )
    assert (pack.version, pack.rows) == (2, 2)
    content = load_content(tmp_path, disabled=["shipped"])
    assert [row.title["en"] for row in content.links] == ["Changed", "Example"]
    assert content.chips == []
    data = [file for file in tmp_path.iterdir() if file.suffix == ".jsonl"]
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in data] == [pack.sha256]
    assert load_content(tmp_path, disabled=["mine", "shipped"]).links == []


def test_pack_without_licence_or_with_wrong_digest_is_rejected(tmp_path) -> None:
    rows = import_rows(json.dumps(LINK), "jsonl", "links", "en").accepted
    with pytest.raises(PackError, match="licence"):
        save_pack(tmp_path, "mine", "links", rows, " ", "me")
    with pytest.raises(PackError, match="name"):
        save_pack(tmp_path, "../mine", "links", rows, "CC0", "me")
    pack = save_pack(tmp_path, "mine", "links", rows, "CC0", "me")
    with pytest.raises(PackError, match="pack of links"):
        save_pack(tmp_path, "mine", "chips", [], "CC0", "me")
    (tmp_path / pack.file).write_text("{}")
    with pytest.raises(PackError, match="manifest"):
        load_content(tmp_path)


def test_dead_links_are_left_out(tmp_path) -> None:
    links = load_content().links
    save_health(tmp_path, {links[0].url: 404, links[1].url: 0, links[2].url: 503})
    content = load_content(tmp_path)
    assert (content.quarantined, len(content.links)) == (1, len(links) - 1)
    assert links[0].url not in {row.url for row in content.links}
