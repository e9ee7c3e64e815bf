"""The commands: one module each, a plain function to register; no logic of its own."""

from harness.cli.check import check
from harness.cli.claims import claims
from harness.cli.compare import compare
from harness.cli.exhaustive import exhaustive
from harness.cli.list import list_
from harness.cli.new import new
from harness.cli.report import report
from harness.cli.run import run
from harness.cli.worst_case import worst_case

__all__ = [
    "check", "claims", "compare", "exhaustive", "list_", "new", "report", "run", "worst_case",
]  # fmt: skip
