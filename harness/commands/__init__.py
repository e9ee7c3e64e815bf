"""The commands: one module each, a plain function to register; no logic of its own."""

from harness.commands.check import check
from harness.commands.claims import claims
from harness.commands.compare import compare
from harness.commands.exhaustive import exhaustive
from harness.commands.list import list_
from harness.commands.new import new
from harness.commands.report import report
from harness.commands.run import run
from harness.commands.worst_case import worst_case

__all__ = [
    "check", "claims", "compare", "exhaustive", "list_", "new", "report", "run", "worst_case",
]  # fmt: skip
