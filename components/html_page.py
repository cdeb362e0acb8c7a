"""One self-contained HTML page: no script, no request to anywhere; figures are embedded as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREEN, RED, AMBER, GREY = "#2463a6", "#1a7f4b", "#b3261e", "#a15c00", "#8a94a3"

STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5b6675;--line:#e3e7ec;--wash:#f6f8fa;--card:#fff;--link:#2463a6;
--strong:#eef4fb;--banner:#fff8e8;--banner-ink:#6b4300;--banner-line:#f0d9a8;--good:#e3f4ea;--good-ink:#12633a;
--bad:#fce8e6;--bad-ink:#94201a;--warn:#fff0d2;--warn-ink:#7d4a00;--plain:#eef1f5;--plain-ink:#46515f}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a3adba;--line:#2f3843;--wash:#12161c;--card:#1a2028;
--link:#7db4ee;--strong:#1f2d3d;--banner:#33290f;--banner-ink:#f3d58b;--banner-line:#5a4717;--good:#12361f;
--good-ink:#8fdcae;--bad:#45191a;--bad-ink:#f5a9a3;--warn:#3d2c0c;--warn-ink:#f0c77d;--plain:#2a323c;--plain-ink:#bac4d0}}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h2{font-size:18px;margin:0 0 10px}
h3{font-size:15px;margin:22px 0 8px}
p{margin:0 0 10px}
a{color:var(--link)}
.lead{color:var(--soft);margin-bottom:18px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin:0 0 18px}
.banner{border-radius:10px;padding:12px 18px;margin:0 0 18px;border:1px solid var(--banner-line);
background:var(--banner);color:var(--banner-ink)}
.verdict{border-left:8px solid var(--soft)}
.verdict.good{border-left-color:#1a7f4b}.verdict.bad{border-left-color:#b3261e}.verdict.warn{border-left-color:#d08700}
.verdict h2{font-size:22px}
.mark{display:inline-block;min-width:3.6em;text-align:center;border-radius:999px;padding:1px 10px;font-size:12.5px;
font-weight:600;white-space:nowrap}
.mark.good{background:var(--good);color:var(--good-ink)}.mark.bad{background:var(--bad);color:var(--bad-ink)}
.mark.warn{background:var(--warn);color:var(--warn-ink)}.mark.plain{background:var(--plain);color:var(--plain-ink)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:600;text-align:left;color:var(--soft);font-size:12.5px;border-bottom:2px solid var(--line);
padding:6px 10px;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:7px 10px;vertical-align:top}
tr:last-child td{border-bottom:0}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.strong td{background:var(--strong);font-weight:600}
tr.group td{color:var(--soft);font-size:12.5px;font-weight:600;padding-top:14px}
tr.quiet td{color:var(--soft)}
.range{display:block;color:var(--soft);font-size:12px;font-weight:400}
.note{color:var(--soft);font-size:13px}
figure{margin:6px 0 12px}
figure img{display:block;max-width:100%;height:auto;margin:0 auto;background:#fff;border-radius:8px}
figcaption{color:var(--soft);font-size:13px;margin-top:6px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:14px 0 0}
.facts div{background:var(--wash);border-radius:8px;padding:9px 13px}
.facts b{display:block;font-size:19px;font-variant-numeric:tabular-nums}
.facts span{color:var(--soft);font-size:12.5px}
code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
details{margin-top:8px}
.item+.item{margin-top:26px}
summary{cursor:pointer;color:var(--soft)}
/* Figures are drawn on white; ink on a dark page would hide their axes. */
@media (prefers-color-scheme:dark){figure img{padding:6px}}
"""

Tone = Literal["good", "bad", "warn", "plain"]


def page(title: str, body: Sequence[str]) -> str:
    """A whole page of pieces of HTML below its title, which is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *pieces: str) -> str:
    """A titled card of pieces of HTML."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n" + "\n".join(pieces) + "\n</section>"


def mark(text: str, tone: Tone) -> str:
    """A small coloured label."""
    return f'<span class="mark {tone}">{escape(text)}</span>'


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Figures with a word below each: (figure, word)."""
    cells = "".join(f"<div><b>{escape(figure)}</b><span>{escape(word)}</span></div>" for figure, word in items)
    return f'<div class="facts">{cells}</div>'


def table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], *, text_columns: int = 1) -> str:
    """A table of (row class, cells of HTML); columns after the first `text_columns` hold numbers.

    A row of one cell spans the table: a heading within it.
    """

    def kind(column: int) -> str:
        return "" if column < text_columns else ' class="number"'

    head = "".join(f"<th{kind(column)}>{escape(text)}</th>" for column, text in enumerate(headings))
    lines = []
    for row_class, cells in rows:
        if len(cells) == 1:
            inner = f'<td colspan="{len(headings)}">{cells[0]}</td>'
        else:
            inner = "".join(f"<td{kind(column)}>{cell}</td>" for column, cell in enumerate(cells))
        lines.append(f'<tr class="{row_class}">{inner}</tr>' if row_class else f"<tr>{inner}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty matplotlib figure that belongs to no window and no global state."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def svg_of(figure: Figure) -> bytes:
    """A matplotlib figure as SVG; equal figures give equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    # Without a fixed salt ids are random; without metadata=None the date is written.
    with matplotlib.rc_context({"svg.hashsalt": "isoformer"}):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def embedded(figure: Figure, caption: str) -> str:
    """A matplotlib figure as an embedded SVG with a caption."""
    data = base64.b64encode(svg_of(figure)).decode("ascii")
    text = escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}"><figcaption>{text}</figcaption></figure>'


def plain_axes(axes: object) -> None:
    """Take the frame off a plot's axes and lighten its grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)  # type: ignore[attr-defined]
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b8c0ca")  # type: ignore[attr-defined]
    axes.tick_params(color="#b8c0ca", labelcolor="#1c2530", labelsize=9)  # type: ignore[attr-defined]
    axes.set_axisbelow(True)  # type: ignore[attr-defined]
