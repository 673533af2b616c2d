"""results.svg: ratios to the limit, and who stores how many rows a second. Plain SVG that follows the reader's light or dark theme."""

from xml.sax.saxutils import escape

WIDTH = 860
LABEL = 270   # where bars begin
BAR = 500     # the longest
LINE = 20
COLOURS = {"postgresql": "pg", "mysql": "my"}
STYLE = """
text { font: 12px sans-serif; fill: #222 }
.title { font-weight: bold; font-size: 14px }
.pg { fill: #33658a }
.my { fill: #c77d1e }
.mark { stroke: #888; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
	text { fill: #ddd }
	.pg { fill: #6fa8d0 }
	.my { fill: #e5a54b }
	.mark { stroke: #999 }
}
"""


def bar(y, label, driver, length, figure):
    return (f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="{COLOURS[driver]}" x="{LABEL}" y="{y + 3}" width="{max(length, 1):.1f}" height="{LINE - 6}"/>'
            f'<text x="{LABEL + max(length, 1) + 6:.1f}" y="{y + 13}">{figure}</text>')


def panel(y, title, bars, form, mark=None):
    """A title and its bars, of (label, driver, value); returns the elements and where the next panel begins."""
    longest = max([value for _label, _driver, value in bars] + ([mark] if mark else []))
    parts = [f'<text class="title" x="10" y="{y + 16}">{escape(title)}</text>']
    top = y = y + 26
    before = None
    for label, driver, value in bars:
        parts.append(bar(y, label if label != before else "", driver, value / longest * BAR, form.format(value)))
        before = label
        y += LINE
    if mark:
        x = LABEL + mark / longest * BAR
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}"/>')
    return parts, y + 14


def legend(y):
    return [f'<rect class="pg" x="10" y="{y}" width="12" height="12"/><text x="28" y="{y + 10}">PostgreSQL</text>'
            f'<rect class="my" x="120" y="{y}" width="12" height="12"/><text x="138" y="{y + 10}">MariaDB</text>']


def collect(sections, wanted, field):
    """(label, driver, value) of these sections, the two databases of one label beside each other."""
    found = [(label, section.driver, value) for section in sections if wanted(section) for label, value in getattr(section, field)]
    labels = list(dict.fromkeys(label for label, _driver, _value in found))
    return sorted(found, key=lambda one: labels.index(one[0]))


def draw(sections, limit_name):
    """The picture as text."""
    ratios = collect(sections, lambda section: any(label == limit_name for label, _rate in section.rates), "ratios")
    rates = collect(sections, lambda section: section.case in ("node", "pgbouncer"), "rates")
    parts, y = legend(10), 34
    if ratios:
        more, y = panel(y, "sluice against the same statements sent ready-made (line: 0.85)", ratios, "{:.2f}", 0.85)
        parts += more
    if rates:
        more, y = panel(y, "rows a second", rates, "{:,.0f}")
        parts += more
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
