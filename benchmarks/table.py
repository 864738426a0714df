"""
The table of what was measured.
"""

from __future__ import annotations

import statistics
import textwrap

__all__ = ["FAILED", "ROWS", "Row", "Table"]

Row = tuple[str, str]
"""
What is measured, and its unit.
"""

RATES = ("/s", "MiB/s")
"""
Units of which more is better; of all others it is less.
"""

FAILED = "failed"
"""
The unit of what went wrong.
"""

ROWS: list[Row] = [
    ("start", "ms"),
    ("idle", "KiB"),
    ("idle", "descriptors"),
    ("session", "us cpu"),
    ("session", "/s"),
    ("name", "us cpu"),
    ("login", "us cpu"),
    ("growth", "times"),
    ("message", "us cpu"),
    ("message", "/s"),
    ("message", "us p99"),
    ("lone", "us p50"),
    ("bulk", "s/GiB cpu"),
    ("bulk", "MiB/s"),
    ("bulk8", "s/GiB cpu"),
    ("bulk8", "MiB/s"),
    ("upload", "s/GiB cpu"),
    ("upload", "MiB/s"),
]


def printed(figure: float) -> str:
    """
    With three digits that mean something.
    """
    decimals = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{decimals}f}"


class Table:
    """
    What was measured: the medians, and how the first proxy compares with the
    others.
    """

    def __init__(self, figures: dict[str, dict[Row, list[float]]]) -> None:
        self._names = list(figures)
        self._medians = {
            name: {
                row: sum(each) if row[1] == FAILED else statistics.median(each)
                for row, each in rows.items()
            }
            for name, rows in figures.items()
        }
        seen = dict.fromkeys(row for rows in figures.values() for row in rows)
        self._failed = [row for row in seen if row[1] == FAILED]

    @property
    def isComplete(self) -> bool:
        """
        Whether nothing failed.
        """
        return not self._failed

    def _ratio(self, row: Row, other: str) -> float | None:
        mine = self._medians[self._names[0]].get(row)
        theirs = self._medians[other].get(row)
        return mine / theirs if mine is not None and theirs else None

    def lines(self, rst: bool) -> list[str]:
        """
        The table.
        """
        first, *others = self._names
        cells = [
            ["row", "unit", *self._names, *(f"{first} / {other}" for other in others)]
        ]
        for row in ROWS + self._failed:
            line = list(row)
            for name in self._names:
                figure = self._medians[name].get(row)
                line.append("" if figure is None else printed(figure))
            for other in others:
                ratio = self._ratio(row, other) if row[1] != FAILED else None
                line.append("" if ratio is None else f"{ratio:.2f}")
            cells.append(line)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        text = [
            "  ".join(
                cell.ljust(width) if number < 2 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        if rst:
            border = "  ".join("=" * width for width in widths)
            text = [border, text[0], border, *text[1:], border]
        return text

    def behind(self) -> list[str]:
        """
        Where the first proxy is worse than another by more than a twentieth.
        """
        first, *others = self._names
        found = []
        for other in others:
            rows = []
            for row in ROWS:
                ratio = self._ratio(row, other)
                if ratio and (1 / ratio if row[1] in RATES else ratio) > 1.05:
                    rows.append(f"{' '.join(row)} ({ratio:.2f})")
            said = ", ".join(rows) or "nothing"
            found += textwrap.wrap(f"{first} is behind {other} in: {said}.", 88)
        return found
