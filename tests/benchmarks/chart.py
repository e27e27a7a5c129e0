"""Bars in SVG, written by hand: two panels, Twin beside its peers."""

from __future__ import annotations

from html import escape

WIDTH, BAR, GAP, LEFT, RIGHT = 760, 22, 8, 190, 90
STYLE = "font-family:system-ui,sans-serif;font-size:13px"


def chart(panels: list[tuple[str, list[tuple[str, float, str]]]]) -> str:
    """Each panel: a title, and (name, value, label) per bar. Twin's bar is dark."""
    parts, y = [], 16
    for title, bars in panels:
        y += 14
        parts.append(f'<text x="8" y="{y}" font-weight="600" fill="#1a1a1a">{escape(title)}</text>')
        y += 12
        most = max((value for _, value, _ in bars), default=1.0) or 1.0
        for name, value, label in bars:
            width = max(1.0, (WIDTH - LEFT - RIGHT) * value / most)
            colour = "#0b5d4d" if name.startswith("Twin") else "#b9c4c1"
            middle = y + BAR / 2 + 4
            parts += [
                f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end" fill="#1a1a1a">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="3" fill="{colour}"/>',
                f'<text x="{LEFT + width + 6:.1f}" y="{middle}" fill="#1a1a1a">{escape(label)}</text>',
            ]
            y += BAR + GAP
        y += 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'style="{STYLE}"><rect width="100%" height="100%" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )
