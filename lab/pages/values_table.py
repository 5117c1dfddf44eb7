"""
The table of values in helm/qwen/README.md, made from the comments of values.yaml.

``python -m lab.pages.values_table`` writes it; test_values.py says when it is stale.
"""

from __future__ import annotations

import re
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "helm/qwen"
README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
LINE = re.compile(r"^(?P<indent>(?:  )?)(?P<key>\w+):(?P<default>.*?)  # (?P<comment>.+)$")


def values_table(values: str) -> str:
    """One row a key: name, default, comment. A key without a comment is a ValueError."""
    rows, section = ["| key | default | what it is |", "|---|---|---|"], ""
    lines = values.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith(("#", "- ")):
            continue
        found = LINE.match(line)
        if found is None:
            raise ValueError(f"values.yaml:{number} has no comment behind its key: {line}")
        key, default = found["key"], found["default"].strip()
        if found["indent"]:
            key = f"{section}.{key}"
        else:
            section = key
        following = lines[number] if number < len(lines) else ""
        if not default and following.lstrip().startswith("- "):
            default = following.strip().removeprefix("- ")
        rows.append(f"| `{key}` | {f'`{default}`' if default else ''} | {found['comment']} |")
    return "\n".join(rows)


def with_table(readme: str, table: str) -> str:
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    table = values_table((CHART / "values.yaml").read_text())
    README.write_text(with_table(README.read_text(), table))
