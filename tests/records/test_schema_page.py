"""docs/records.md says what the models say."""

from __future__ import annotations

import record_schema

from harness import records


def test_the_page_is_the_one_that_the_models_give() -> None:
    text = record_schema.PAGE.read_text(encoding="utf-8")
    assert text == record_schema.page(), "run python tests/studies/record_schema.py"


def test_every_experiment_has_its_section() -> None:
    text = record_schema.page()
    for name in records.EXPERIMENTS:
        assert f"`experiment`: {name}\n" in text
    for field in ("deviation", "error_over_bound", "first_bad_hex", "percent_of_limit"):
        assert f"| `{field}` |" in text
