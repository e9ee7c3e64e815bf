"""The commands beyond those of `harness.cli`: one module each, a plain function to register."""

from harness.commands.check import check
from harness.commands.claims import claims
from harness.commands.compare import compare
from harness.commands.exhaustive import exhaustive
from harness.commands.new import new
from harness.commands.worst_case import worst_case

__all__ = ["check", "claims", "compare", "exhaustive", "new", "worst_case"]
