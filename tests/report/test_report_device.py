"""The page of timings on a device: figures, what is struck out, and what was never run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_run
from report_pages import rows_of

from harness.records import Record
from harness.records.device_throughput import DeviceClock, DeviceThroughputRecord
from harness.report.build import build_site
from harness.report.drawing.style import styles
from harness.report.pages import device, device_plots
from harness.report.run_data import RunData, from_run

CLOCK = DeviceClock(sm_mhz=1980, celsius=41, throttled=[], source="nvml")


def cell(name: str, speed: float, **changes: Any) -> DeviceThroughputRecord:
    values: dict[str, Any] = {
        "implementation": name, "dtype": "float32", "device": "cuda", "classes": 1000,
        "rows": 134_000, "regime": "streaming", "status": "ok", "array_bytes": 536_000_000,
        "median_ns": 2 * 536_000_000 / speed, "ci_low_ns": 2 * 530_000_000 / speed,
        "ci_high_ns": 2 * 540_000_000 / speed, "gbps": speed, "gbps_low": 0.97 * speed,
        "gbps_high": 1.02 * speed, "limit": "copy_kernel",
        "percent_of_limit": speed / 30.0, "speedup": speed / 2000, "speedup_low": speed / 2001,
        "speedup_high": speed / 1999, "baseline": "torch_cuda", "fits": "2 pairs in turn",
        "clock_before": CLOCK, "clock_after": CLOCK, "device_name": "simulated",
        "host_to_device_ns": 1e7, "device_to_host_ns": 2e7, "transfer_bytes": 1 << 24,
    }  # fmt: skip
    return DeviceThroughputRecord(**{**values, **changes})


CELLS = [
    cell("cupy_gpu", 2900.0),
    cell("torch_cuda", 2000.0, warnings=["the device held its clock down (hardware slowdown)"]),
    cell("too_fast", 9000.0, status="failed", reason="implausible: 9000 GB/s", implausible=True),
    cell("greedy", 1.0, status="out_of_memory", reason="asked for too much", gbps=None,
         median_ns=None, speedup=None),
    cell("copy_kernel", 3000.0, role="limit", operation="copy"),
    cell("cupy_gpu", 1.0, regime="graph", rows=1, median_ns=2500.0),
    cell("cupy_gpu", 2950.0, operation="cross_entropy_loss", moved_bytes=537_000_000,
         limit="read_kernel"),
    cell("read_kernel", 3100.0, role="limit", operation="read", beside="cross_entropy_loss"),
]  # fmt: skip
STREAMING = device.DeviceGroup("softmax", "streaming", "float32")
GRAPH = device.DeviceGroup("softmax", "graph", "float32")
LOSS = device.DeviceGroup("cross_entropy_loss", "streaming", "float32")


def data(records: Sequence[Record]) -> RunData:
    return from_run(report_run.run(records), "")


def entry(table: Any, name: str, column: int = 1) -> Any:
    return next(row[column] for row in table.rows if row[0].text == name)


def test_bandwidth_and_share_of_the_copy() -> None:
    table = device.speeds(data(CELLS), STREAMING)
    assert entry(table, "cupy_gpu").raw == 2900.0
    assert "96.7% of copy_kernel" in entry(table, "cupy_gpu").detail
    assert entry(table, "too_fast").kind == "struck"
    assert "implausible" in entry(table, "too_fast").note
    assert entry(table, "greedy").kind == "missing"
    assert "asked for too much" in entry(table, "greedy").note
    assert [r[0].text for r in table.rows][-1] == "copy_kernel"


def test_one_row_has_a_table_of_its_own() -> None:
    run = data(CELLS)
    assert device.groups(run) == [STREAMING, GRAPH, LOSS]
    assert entry(device.speeds(run, GRAPH), "cupy_gpu").text == "2.50"


def test_ratios_leave_the_copies_out() -> None:
    table = device.ratios(data(CELLS), STREAMING)
    assert "torch_cuda" in table.caption
    assert entry(table, "cupy_gpu").raw == pytest.approx(1.45)
    assert all(r[0].text != "copy_kernel" for r in table.rows)


def test_an_operation_goes_with_its_own_limits() -> None:
    table = device.speeds(data(CELLS), LOSS)
    assert [r[0].text for r in table.rows] == ["cupy_gpu", "read_kernel"]
    assert "of read_kernel" in entry(table, "cupy_gpu").detail
    assert all(r[0].text != "read_kernel" for r in device.speeds(data(CELLS), STREAMING).rows)
    assert device.title(LOSS) == "Bandwidth beyond L2, cross_entropy_loss, float32"


def drawn_of(cells: Sequence[Record]) -> tuple[Any, set[float]]:
    """A figure, and the numbers that are drawn: lengths of bars, else heights of points."""
    run = data(cells)
    plot = device_plots.by_classes(run, STREAMING, styles(run.implementations))
    assert plot is not None
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    along = "get_xdata" if axes.patches else "get_ydata"
    found = {float(v) for line in axes.lines for v in np.atleast_1d(getattr(line, along)())}
    return plot, {v for v in found if np.isfinite(v)} | {bar.get_width() for bar in axes.patches}


@pytest.mark.parametrize("classes", [(1000,), (10, 1000)], ids=["bars", "curves"])
def test_every_number_of_the_plot_stands_in_its_table(classes: tuple[int, ...]) -> None:
    plot, drawn = drawn_of([c.model_copy(update={"classes": n}) for n in classes for c in CELLS])
    assert drawn <= {row[k].raw for row in plot.table.rows for k in (2, 3, 4)}
    assert {2900.0, 0.97 * 2900.0, 1.02 * 2900.0, 3000.0} <= drawn
    assert 9000.0 not in drawn  # implausible
    (axes,) = plot.figure.axes
    texts = [t.get_text() for t in axes.texts]
    assert any(t.startswith("cupy_gpu") for t in texts)
    assert any(t.startswith("limit: copy_kernel") for t in texts)
    assert "2900" in plot.alt
    assert "greedy" in plot.caption


def test_without_a_time_there_is_no_plot() -> None:
    cells = [cell("greedy", 1.0, status="error", reason="x", median_ns=None, gbps=None)]
    run = data(cells)
    assert device_plots.by_classes(run, STREAMING, styles(run.implementations)) is None


def test_clocks_doubts_and_transfers_are_shown() -> None:
    run = data(CELLS)
    told = device.conditions(run)
    assert told is not None
    assert "1980 MHz" in told.rows[0][5].text
    assert "hardware slowdown" in told.rows[0][-1].text
    moved = device.transfers(run)
    assert moved is not None
    assert entry(moved, "cupy_gpu", 2).raw == 1e7


def test_without_a_device_the_page_says_so(tmp_path: Path) -> None:
    absent = DeviceThroughputRecord(
        implementation="cupy_gpu", device="cuda", status="unavailable", reason="no CUDA device: x"
    )
    table = device.not_run(data([absent]))
    assert table is not None
    assert "no CUDA device: x" in (table.rows[0][1].note or "")
    build_site([report_run.run([absent])], tmp_path / "site")
    page = (tmp_path / "site" / "device_throughput.html").read_text(encoding="utf-8")
    assert device.NOT_RUN in page
    assert "no CUDA device: x" in page


def test_a_run_of_a_device_alone_makes_a_site(tmp_path: Path) -> None:
    build_site([report_run.run(CELLS)], tmp_path / "site")
    page = (tmp_path / "site" / "device_throughput.html").read_text(encoding="utf-8")
    assert "implausible" in page
    assert "Bandwidth beyond L2" in page
    for stem in ("device-streaming-float32", "device-cross_entropy_loss-streaming-float32"):
        assert f"figures/{stem}.svg" in page
        assert (tmp_path / "site" / "figures" / f"{stem}.svg").stat().st_size > 0
        rows = rows_of(tmp_path / "site", stem.replace("device-", "device-points-"))
        assert [r["Median GB/s"] for r in rows if r["Implementation"] == "cupy_gpu"]


def test_a_run_without_such_cells_has_no_such_page(tmp_path: Path) -> None:
    run = from_run(report_run.run(), "")
    assert device.not_run(run) is None
    assert device.conditions(run) is None
    assert device.transfers(run) is None
