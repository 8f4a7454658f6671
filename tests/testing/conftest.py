"""The matrix of mutants against checks, told after the tests, of however many processes."""

from __future__ import annotations

import pytest

CELLS = "mutant against checks"
"""Under this name each test of a mutant leaves (mutant, {check: cell})."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = dict(cells for report in reports for name, cells in report.user_properties if name == CELLS)
    if not rows:
        return
    checks = list(dict.fromkeys(check for cells in rows.values() for check in cells))
    width = max(map(len, rows))
    terminalreporter.section("mutants against checks: # caught as it must be, X caught, . not caught")
    for number, check in enumerate(checks, start=1):
        terminalreporter.write_line(f"{number:3} {check}")
    terminalreporter.write_line(" ".join([" " * width, *(f"{n:2}" for n in range(1, len(checks) + 1))]))
    for mutant, cells in sorted(rows.items()):
        terminalreporter.write_line(" ".join([mutant.ljust(width), *(f"{cells.get(c, ''):>2}" for c in checks)]))
