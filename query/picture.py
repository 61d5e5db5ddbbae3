"""A lineage as a picture: Graphviz DOT text, and SVG that any viewer shows."""

from __future__ import annotations

import json
from xml.sax.saxutils import escape, quoteattr

from .layers import Layout, Point, laid_out
from .lineage_graph import Graph
from .lineage_nodes import KINDS, Node

__all__ = ["dot", "svg"]

_COLOURS = {
    "commit": "#e5e5e5",
    "dataset": "#fde2b8",
    "run": "#cfe3fb",
    "environment": "#e5e5e5",
    "logged model": "#d3efd2",
    "trace": "#f6d5e5",
    "version": "#a9dcb0",
    "alias": "#e3d6f5",
    "stage": "#e3d6f5",
}
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN, _LEGEND = 210, 44, 290, 62, 24, 34
_LETTERS = 29
_LEGEND_STEP = 118


def dot(graph: Graph) -> str:
    """The graph in the language of Graphviz."""
    lines = [
        "digraph lineage {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=10];',
        '  edge [fontname="sans-serif", fontsize=9];',
    ]
    for node in graph.nodes:
        text = "\\n".join(_quoted(part)[1:-1] for part in _texts(node))
        bold = ", penwidth=2" if node.uri in graph.roots else ""
        colour = _COLOURS[node.kind]
        lines.append(f'  {_quoted(node.uri)} [label="{text}", fillcolor="{colour}"{bold}];')
    for edge in graph.edges:
        label = _quoted(edge.relation)
        past = ", style=dashed" if edge.detail.get("past") else ""
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={label}{past}];")
    return "\n".join([*lines, "}", ""])


def svg(graph: Graph, title: str) -> str:
    """The graph in layers from left to right, in the direction in which data went."""
    layout = laid_out(
        [node.uri for node in graph.nodes],
        [(edge.source, edge.target) for edge in graph.edges],
    )
    kinds = [kind for kind in KINDS if any(node.kind == kind for node in graph.nodes)]
    width = max(layout.columns * _ACROSS, len(kinds) * _LEGEND_STEP, _ACROSS) + 2 * _MARGIN
    height = max(layout.rows, 1) * _DOWN + 2 * _MARGIN + _LEGEND
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        ),
        f"<title>{_text(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        (
            '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker>'
            "</defs>"
        ),
        *_legend(kinds),
        *_edges(graph, layout),
        *(_box(node, layout.points[node.uri], node.uri in graph.roots) for node in graph.nodes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(kinds: list[str]) -> list[str]:
    found = []
    for number, kind in enumerate(kinds):
        x = _MARGIN + number * _LEGEND_STEP
        found.append(
            f'<rect x="{x}" y="{_MARGIN}" width="12" height="12" rx="3" fill="{_COLOURS[kind]}" '
            f'stroke="#666"/><text x="{x + 18}" y="{_MARGIN + 10}">{kind}</text>'
        )
    return found


def _edges(graph: Graph, layout: Layout) -> list[str]:
    """Curves from box to box; what passes a layer passes it between the boxes."""
    found = []
    for edge in graph.edges:
        x, y = _place(layout.points[edge.source])
        path = f"M{x + _WIDTH},{y:g}"
        x += _WIDTH
        stops = [_place(point) for point in layout.bends[edge.source, edge.target]]
        for bend_x, bend_y in stops:
            path += _curve(x, y, bend_x, bend_y) + f" L{bend_x + _WIDTH},{bend_y:g}"
            x, y = bend_x + _WIDTH, bend_y
        to_x, to_y = _place(layout.points[edge.target])
        path += _curve(x, y, to_x, to_y)
        past = ' stroke-dasharray="5 3"' if edge.detail.get("past") else ""
        found.append(
            f'<path d="{path}" fill="none" stroke="#666"{past} marker-end="url(#to)">'
            f"<title>{_text(edge.relation)}</title></path>"
        )
    return found


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f" C{middle:g},{y:g} {middle:g},{to_y:g} {to_x:g},{to_y:g}"


def _box(node: Node, point: Point, is_root: bool) -> str:
    x, y = _place(point)
    first, second = (_text(_cut(part)) for part in _texts(node))
    top = y - _HEIGHT / 2
    pen = 'stroke="#222" stroke-width="2.5"' if is_root else 'stroke="#666"'
    return (
        f"<g><title>{_text(node.uri)}</title>"
        f'<rect x="{x:g}" y="{top:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="7" '
        f"fill={quoteattr(_COLOURS[node.kind])} {pen}/>"
        f'<text x="{x + 9:g}" y="{top + 18:g}" font-weight="bold">{first}</text>'
        f'<text x="{x + 9:g}" y="{top + 34:g}" fill="#333">{second}</text></g>'
    )


def _place(point: Point) -> tuple[float, float]:
    """The middle of a box's left side."""
    x = _MARGIN + point.column * _ACROSS
    return x, _MARGIN + _LEGEND + (point.row + 0.5) * _DOWN


def _texts(node: Node) -> tuple[str, str]:
    """What stands in a box: what it is, and what is said of it."""
    tail = node.uri.partition(":/")[2]
    if node.kind == "dataset":
        return node.name or tail, f"digest {node.detail['digest']}"
    if node.kind == "environment":
        return node.name or tail, tail
    if node.kind in ("run", "logged model", "trace"):
        return node.name or tail, f"{node.state or ''} {tail}".strip()
    return tail, node.state or node.kind


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _text(text: str) -> str:
    """A text as XML takes it: some characters cannot even be escaped there."""
    return escape("".join(c if c.isprintable() else "�" for c in text))


def _quoted(text: str) -> str:
    """A text in DOT: quotes and backslashes escaped, control characters replaced."""
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return json.dumps(shown, ensure_ascii=False)
