"""Plots for the UI: matplotlib where it is installed, and a figure as an image inside Markdown.

matplotlib is optional and slow to import, so it is imported where a plot is drawn.
"""

import base64
import io
from typing import Any


def pyplot() -> Any | None:
    """matplotlib's pyplot, drawing into memory; None where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def markdown(plt: Any, figure: Any, name: str) -> str:
    """The figure as a line of Markdown; closes the figure."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    plt.close(figure)
    return f"![{name}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
