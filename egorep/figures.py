"""How figures look on the project's pages, and how they get there. Needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#C9CED6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E9EE",
    "text.color": "#1B1F24",
    "xtick.color": "#59616C",
    "ytick.color": "#1B1F24",
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.hashsalt": "egorep",  # the same results give the same bytes
}


def styled(style: Mapping[str, Any] = STYLE) -> AbstractContextManager[None]:
    """A context in which matplotlib draws in this style."""
    return mpl.rc_context(dict(style))  # type: ignore[arg-type]  # its stub wants a literal type for the keys


def to_svg(figure: Figure, prefix: str, style: Mapping[str, Any] = STYLE) -> str:
    """The figure as an inline SVG element whose ids start with `prefix`, so that several fit on one page."""
    buffer = io.StringIO()
    with styled(style):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
