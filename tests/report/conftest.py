"""The site of a small synthetic run, which most tests of the report look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_run

from harness.report import build_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site([report_run.small_run()], tmp_path_factory.mktemp("report") / "site").parent
