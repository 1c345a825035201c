"""Bar charts as SVG without a plotting library."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

# Colours that the colour-blind can distinguish, visible on light and dark pages (Okabe-Ito).
_COLOURS = ("#999999", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#0072b2", "#d55e00")
_LEFT, _TOP, _ROW, _GAP, _BAR_END, _WIDTH = 250, 64, 18, 16, 640, 760


class Chart(NamedTuple):
    """Groups of horizontal bars, one below the other.

    Attributes:
        title: Title, with the unit.
        groups: Name of each group -> name of each bar -> its value; bars may be missing.
        form: Format of values, as for `format`.
    """

    title: str
    groups: Mapping[str, Mapping[str, float]]
    form: str = ".2f"

    def svg(self) -> str:
        bars = self._names()
        longest = max((v for group in self.groups.values() for v in group.values()), default=0.0)
        scale = (_BAR_END - _LEFT) / (longest or 1.0)
        parts, y = [], _TOP
        for group, values in self.groups.items():
            middle = y + len(values) * _ROW / 2
            parts.append(_text(_LEFT - 96, middle + 4, group, anchor="end", bold=True))
            for name, value in values.items():
                colour = _COLOURS[bars.index(name) % len(_COLOURS)]
                parts += self._bar(y, name, value, scale, colour)
                y += _ROW
            y += _GAP
        return _document(self.title, parts, y)

    def _names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for group in self.groups.values() for name in group))

    def _bar(self, y: float, name: str, value: float, scale: float, colour: str) -> list[str]:
        width = max(1.0, value * scale)
        return [
            _text(_LEFT - 6, y + 12, name, anchor="end"),
            (
                f'<rect x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 4}" '
                f'fill="{colour}"/>'
            ),
            _text(_LEFT + width + 6, y + 12, format(value, self.form)),
        ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _document(title: str, parts: Sequence[str], height: float) -> str:
    # A background of its own: an image in a README does not know if the page is light or dark.
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'width="{_WIDTH}" height="{height:.0f}" font-family="sans-serif" font-size="12" '
            'fill="#222" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>',
        f'<text x="16" y="32" font-size="16" font-weight="bold">{escape(title)}</text>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
