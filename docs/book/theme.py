"""How pictures look: one ink, no ground, and other colours where the page is dark.

Knows matplotlib's settings and a little of SVG; nothing of pages.
"""

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

os.environ.setdefault("MPLBACKEND", "agg")  # a picture is a value: nothing may open a window

INK: Final = "#1b1f24"
_DARK_INK: Final = "#e4e7eb"
# Okabe and Ito, "Color Universal Design" (2008), changed a little for contrast on white and on black.
COLOURS: Final = ("#0f7ac0", "#d98200", "#00a078", "#cf6ba6", "#e0601a", "#56b4e9", "#8a8f98")
SETTINGS: Final[Mapping[str, object]] = {
    **dict.fromkeys(["figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"], "none"),
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK),
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {[*COLOURS]})",
    "grid.color": "#8a8f9855",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "fgrad",  # the same picture has the same bytes
}
_STYLE: Final = f"<style>svg{{--ink:{INK}}}@media (prefers-color-scheme:dark){{svg{{--ink:{_DARK_INK}}}}}</style>"


def applied() -> AbstractContextManager[None]:
    """Draw with these settings."""
    import matplotlib as mpl

    return mpl.rc_context(dict(SETTINGS))  # type: ignore[arg-type,unused-ignore]  # it lists the names of all settings


def adaptive(svg: str) -> str:
    """Give a picture that was drawn with these settings its other ink on dark pages."""
    inked = re.sub(re.escape(INK), "var(--ink)", svg, flags=re.IGNORECASE)
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + _STYLE, inked, count=1)


def on_white(svg: str) -> str:
    """Give a picture, adaptive or not, a white ground and no other colours, for notebooks, whose theme is not known."""
    plain = re.sub(r"@media \(prefers-color-scheme:dark\)\{(?:[^{}]*\{[^{}]*\})*\}", "", svg)
    plain = plain.replace(_STYLE.split("@")[0] + "</style>", "").replace("var(--ink)", INK)
    return re.sub(r"<svg\b", '<svg style="background:#fff"', plain, count=1)
