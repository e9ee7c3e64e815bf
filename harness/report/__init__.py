"""The report: a static site from stored runs. See `build`."""

from harness.report.build import ReportError, build, build_site

__all__ = ["ReportError", "build", "build_site"]
