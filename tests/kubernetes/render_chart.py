"""Prints what Dagster's chart makes of the values: python render_chart.py CHART VALUES. Needs helm-python-sdk."""

import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from helm_python.chart import Chart

NAMESPACE = "marketdata"


def rendered(chart: Path, values: dict[str, object]) -> list[dict[str, object]]:
    """The objects of a release `dagster`. Schemas are left out: they refer to a page of the internet."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(chart, Path(folder) / "chart"))
        for schema in copy.rglob("values.schema.json"):
            schema.unlink()
        with Chart.load(copy) as loaded:
            files = loaded.render(values, name="dagster", namespace=NAMESPACE)
    texts = (text for name, text in sorted(files.items()) if not name.endswith(".txt"))
    objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
    for one in objects:
        one["metadata"].setdefault("namespace", NAMESPACE)
    return objects


if __name__ == "__main__":
    yaml.safe_dump_all(rendered(Path(sys.argv[1]), yaml.safe_load(Path(sys.argv[2]).read_text())), sys.stdout)
