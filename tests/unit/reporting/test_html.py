"""HTML pages: what is escaped, and that they need no network."""

from hamlet.reporting import html


def test_page_needs_no_network() -> None:
    page = html.page("a < b", "<p>c</p>", style=".x{}")
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in page
    assert page.endswith("<p>c</p></html>\n")
    assert "http" not in page


def test_table_escapes_text_and_aligns_numbers() -> None:
    table = html.table(("<a>", "b"), [("<i>", 1.5), (html.Markup("<b>c</b>"), True)])
    assert table == (
        "<table><tr><th>&lt;a&gt;</th><th>b</th></tr>"
        '<tr><td>&lt;i&gt;</td><td class="number">1.5</td></tr>'
        "<tr><td><b>c</b></td><td>True</td></tr></table>"
    )
    assert html.table((), [("x",)]) == "<table><tr><td>x</td></tr></table>"


def test_list_and_caption_are_escaped() -> None:
    assert html.unordered_list(["<a>", "b"]) == "<ul><li>&lt;a&gt;</li><li>b</li></ul>"
    figure = html.figure("<a>", '<svg xmlns="x" xmlns:xlink="y" width="1"/>')
    assert figure == '<figure><figcaption>&lt;a&gt;</figcaption><svg width="1"/></figure>'
