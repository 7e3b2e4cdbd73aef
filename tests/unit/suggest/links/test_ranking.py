"""The order of web results."""

from datetime import UTC, datetime

from hamlet.spi.sources import FoundLink
from hamlet.suggest.links.ranking import rank_links

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def make_link(url: str, title: str, snippet: str = "", **more) -> FoundLink:
    given = {"kind": "other", "score": 0.5, **more}
    return FoundLink(url, title, snippet, language="ko", source="x", **given)


# Among twenty results, a difference of one position is worth little.
UNRELATED_LINKS = [
    make_link(f"https://other{i}.test/", f"{chr(0xAC00 + i) * 6}") for i in range(16)
]


def ranked_urls(*found: FoundLink, text: str = "서울 지하철 막차", freshness="any") -> list[str]:
    return [link.url for link in rank_links(found, text, freshness, NOW)]


def test_relevance_outweighs_source_order() -> None:
    off = make_link("https://a.test/", "부산 맛집 소개")
    near = make_link("https://b.test/", "서울 지하철 막차 시간표")
    assert ranked_urls(off, near) == [near.url, off.url]


def test_source_order_breaks_ties() -> None:
    found = [make_link(f"https://{c}.test/{c}", f"서울 지하철 막차 {c * 9}") for c in "abc"]
    assert ranked_urls(*found) == [link.url for link in found]


def test_recent_ranks_before_undated_before_old() -> None:
    dates = {"old": "2016-01-01", "odd": "soon", "none": None, "new": "2026-11-24T10:00:00Z"}
    found = [
        make_link(f"https://{name}.test/", f"막차 {name}", published_at=date)
        for name, date in dates.items()
    ]
    urls = ranked_urls(*found, *UNRELATED_LINKS, text="막차", freshness="day")
    names = [url.removeprefix("https://").partition(".")[0] for url in urls[:4]]
    assert names == ["new", "odd", "none", "old"]


def test_government_site_ranks_before_shop() -> None:
    shop = make_link("https://shop.test/", "막차 가", kind="shop")
    state = make_link("https://x.go.kr/", "막차 나", kind="official")
    assert ranked_urls(shop, state, *UNRELATED_LINKS, text="막차")[:2] == [state.url, shop.url]


def test_near_duplicates_of_one_host_are_removed() -> None:
    found = [make_link(f"https://a.test/{i}", f"서울 지하철 막차 시간 안내 {i}") for i in range(3)]
    elsewhere = make_link("https://b.test/", "서울 지하철 막차 시간 안내 0")
    assert ranked_urls(*found, elsewhere) == [found[0].url, elsewhere.url]


def test_results_are_diversified() -> None:
    same = [make_link(f"https://{c}.test/", "서울 지하철 막차", "첫차와 막차 시각") for c in "abc"]
    other = make_link("https://other.test/", "지하철 막차 놓쳤을 때", "심야버스와 택시")
    assert other.url in ranked_urls(*same, other)[:2]


def test_malformed_urls_are_kept_and_do_not_raise() -> None:
    found = [
        make_link("https://[bad", "막차"),
        make_link("javascript:alert(1)", "지하철"),
        make_link("", ""),
    ]
    assert sorted(ranked_urls(*found)) == sorted(one.url for one in found)
    assert ranked_urls() == []
