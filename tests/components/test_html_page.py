"""Pages stand alone, escape what they show, and equal content gives equal bytes."""

from __future__ import annotations

from components.html_page import embedded, facts, mark, new_figure, page, section, table


def line_figure():
    figure = new_figure(3, 2)
    figure.subplots().plot([1, 2, 3])
    return figure


def test_text_is_escaped_wherever_it_is_put():
    hostile = "<script>alert(1)</script>"
    html = page(
        hostile,
        [section(hostile, mark(hostile, "bad"), facts([(hostile, hostile)]), table([hostile], [("", ["cell"])]))],
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_equal_figures_give_equal_bytes_and_fetch_nothing():
    first, second = embedded(line_figure(), "a line"), embedded(line_figure(), "a line")
    assert first == second
    assert 'src="data:image/svg+xml;base64,' in first
    assert "http" not in first.split("base64,")[0]


def test_numbers_stand_right_of_text_and_a_single_cell_spans_the_table():
    html = table(["name", "value"], [("group", ["all"]), ("", ["a", "1"])])
    assert '<td colspan="2">all</td>' in html
    assert '<td>a</td><td class="number">1</td>' in html
