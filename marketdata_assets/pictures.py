"""What every domain's pictures for the UI have in common: matplotlib if it is there, and an image inside Markdown.

matplotlib is an extra and slow to import, so it is imported where a picture is drawn.
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
    """The figure as a line of Markdown; the figure is closed."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    plt.close(figure)
    return f"![{name}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"
