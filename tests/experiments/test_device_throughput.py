"""Timing on a device, with a simulated one: what is timed, what is rejected, what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_run
from simulated_device import LAUNCH_NS, SOURCE, Kernel, Simulation, Worker

from harness.experiments.context import Context
from harness.experiments.profiles import FULL, PROFILES, QUICK, SMOKE, DeviceRegime, DeviceTiming
from harness.experiments.throughput import (
    device as device_throughput,
)
from harness.experiments.throughput import (
    device_gate,
    device_sizes,
    timed_operations,
)
from harness.experiments.throughput import (
    host as throughput,
)
from harness.machine import cuda_driver
from harness.records import RECORD
from harness.records.device_throughput import DeviceClock, DeviceThroughputRecord
from harness.records.reader import cell_key
from harness.report.drawing.figure import drawing, write
from harness.report.drawing.style import styles
from harness.report.pages import device, device_plots
from harness.report.run_data import from_run
from harness.worker.client import Pool
from harness.worker.local import load
from harness.worker.timing import device_timer
from harness.worker.timing.device_timer import GRAPH_CALLS, DeviceStopwatch

GRID = DeviceTiming((64,), 1 << 15, min_sample_ns=2_000, warm_up_ns=0, warm_up_cap_ns=10_000)
LATENCY = DeviceTiming((64,), 0, min_sample_ns=2_000, warm_up_ns=0, warm_up_cap_ns=10_000)
Rig = Callable[..., tuple[Context, dict[str, Worker]]]


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    found = Simulation()
    monkeypatch.setattr(device_timer, "_clock", found.clock)
    monkeypatch.setattr(cuda_driver, "cuda_memory", lambda: (found.total, found.l2))
    clock = DeviceClock(sm_mhz=1980, throttled=[], source="nvml")
    monkeypatch.setattr(device_throughput, "read_clock", lambda **_: clock)
    monkeypatch.setattr(device_sizes, "CONTEXT_BYTES", 0)
    return found


@pytest.fixture
def rig(simulation: Simulation, tmp_path: Path) -> Rig:
    """A context whose implementations are kernels of the simulated device, and their workers."""

    def make(
        kernels: dict[str, Kernel], grids: dict[DeviceRegime, DeviceTiming] | None = None
    ) -> tuple[Context, dict[str, Worker]]:
        implementations = []
        workers: dict[str, Worker] = {}
        order: list[tuple[str, str]] = []
        for name in kernels:
            path = tmp_path / f"{name}.py"
            path.write_text(SOURCE.format(name=name), encoding="utf-8")
            implementations.append(load(path))
        pool = Pool()
        first = next(iter(kernels))
        control = {f"{first} (control)": kernels[first]}
        everyone: dict[str, Any] = {**kernels, **control, device_throughput.MOVER: None}
        for name, kernel in everyone.items():
            workers[name] = Worker(name, simulation, kernel)
            workers[name].shared = order
            pool.add(workers[name])  # type: ignore[arg-type]
        context = Context(
            implementations, pool, replace(SMOKE, device_timing=grids or {"streaming": GRID}),
            0, 2, baseline=first,
        )  # fmt: skip
        context._unavailable.update(dict.fromkeys(kernels))
        context._exp_errors["cupy", "float32"] = None  # unmeasured: four ulp are assumed
        return context, workers

    return make


def measured(context: Context) -> dict[tuple[str, str], DeviceThroughputRecord]:
    records: list[Any] = [r for unit in device_throughput.plan(context) for r in unit.measure()]
    for record in records:
        assert RECORD.validate_json(record.model_dump_json()) == record
    return {(r.implementation, r.regime): r for r in records}


def test_bandwidth_share_and_ratio(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0), "theirs": Kernel(simulation, 40.0)})
    found = measured(context)
    ours, theirs = found["ours", "streaming"], found["theirs", "streaming"]
    assert ours.status == theirs.status == "ok", ours.reason
    both = 2 * (ours.array_bytes or 0)
    assert ours.median_ns == pytest.approx(both / 80.0 + LAUNCH_NS, rel=1e-3)
    assert ours.limit == "copy_kernel"
    assert ours.percent_of_limit == pytest.approx(
        100 * (both / 100.0 + LAUNCH_NS) / (both / 80.0 + LAUNCH_NS), rel=1e-3
    )
    assert theirs.speedup == pytest.approx(
        (both / 80.0 + LAUNCH_NS) / (both / 40.0 + LAUNCH_NS), rel=1e-3
    )
    assert found["ours (control)", "streaming"].speedup == pytest.approx(1.0)
    assert found["copy_kernel", "streaming"].status == "ok"
    assert ours.noisy is False
    assert ours.ranked
    assert ours.device_name == "simulated"
    assert min(ours.visits or 0, theirs.visits or 0) >= GRID.rounds


def test_every_cell_planned_is_measured_once(rig: Rig, simulation: Simulation) -> None:
    grids: dict[DeviceRegime, DeviceTiming] = {"streaming": GRID, "graph": LATENCY}
    context, _ = rig({"ours": Kernel(simulation, 80.0)}, grids)
    units = list(device_throughput.plan(context))
    planned = [k for u in units for k in u.keys]
    assert sorted(planned) == sorted(cell_key(r) for u in units for r in u.measure())
    assert len(set(planned)) == len(planned)


def test_everyone_is_visited_in_every_round_in_an_order_that_the_seed_gives(
    rig: Rig, simulation: Simulation
) -> None:
    def order(seed: int) -> list[str]:
        context, workers = rig({n: Kernel(simulation, 50.0) for n in ("a", "b", "c")})
        context.seed = seed
        measured(context)
        log = workers["a"].shared
        taken = [name for name, command in log if command == "device_sample"]
        return [name for name, _ in groupby(taken)]  # visits, but where two are of one worker

    first = order(0)
    assert first[:4] == order(0)[:4]  # later ones depend on who was quick
    assert len({tuple(order(seed)[:4]) for seed in range(4)}) > 1
    assert min(first.count(n) for n in "abc") >= GRID.rounds - 1


def test_buffers_in_turn_are_larger_than_four_times_l2(rig: Rig, simulation: Simulation) -> None:
    simulation.l2 = 1 << 15
    kernel = Kernel(simulation, 80.0)
    context, _ = rig({"ours": kernel})
    record = measured(context)["ours", "streaming"]
    assert record.buffers is not None
    assert len(set(kernel.seen)) >= record.buffers
    others = (record.buffers - 1) * 2 * (record.array_bytes or 0)
    assert others >= 4 * simulation.l2
    one_round = kernel.seen[: record.buffers]
    assert len(set(one_round)) == record.buffers


def test_the_same_bytes_at_every_class_count() -> None:
    grid = DeviceTiming((8, 1000, 262_144), 1 << 30)
    sizes = [
        device_sizes.shape_of(grid, c, 4, 8, 80 << 30, 50 << 20).array_bytes for c in grid.classes
    ]
    assert all(0.99 * (1 << 29) <= s <= 1 << 29 for s in sizes)


def test_where_memory_lacks_arrays_are_smaller_and_it_is_said() -> None:
    grid = DeviceTiming((1000,), 1 << 30)
    shape = device_sizes.shape_of(grid, 1000, 4, 8, 16 << 30, 50 << 20)
    assert shape.wanted_bytes == (1 << 29) // 4000 * 4000
    assert shape.array_bytes < shape.wanted_bytes
    assert 8 * (2 * shape.buffers * shape.array_bytes + (640 << 20)) <= 16 << 30
    assert shape.buffers * 2 * shape.array_bytes > 4 * (50 << 20)


def test_a_bandwidth_above_the_copy_is_rejected(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0), "magic": Kernel(simulation, 120.0)})
    found = measured(context)
    record = found["magic", "streaming"]
    assert record.status == "failed"
    assert record.implausible
    assert record.ranked is False
    assert "implausible" in (record.reason or "")
    assert found["ours", "streaming"].implausible is False


def test_two_percent_above_the_copy_are_noise(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"ours": Kernel(simulation, 101.0)})
    assert measured(context)["ours", "streaming"].status == "ok"


def test_out_of_memory_is_a_record_and_the_run_goes_on(rig: Rig, simulation: Simulation) -> None:
    context, workers = rig({"ours": Kernel(simulation, 80.0), "greedy": Kernel(simulation, 80.0)})

    def hungry(*_: Any, **__: Any) -> Any:
        raise MemoryError("out of memory: asked for too much")

    workers["greedy"].watch.function = lambda operation: hungry
    found = measured(context)
    record = found["greedy", "streaming"]
    assert record.status == "out_of_memory"
    assert "asked for too much" in (record.reason or "")
    assert workers["greedy"].log[-1] == "device_release"
    assert workers["greedy"].watch.inputs == []
    assert found["ours", "streaming"].status == "ok"
    assert simulation.freed
    assert simulation.used == 0


def test_after_an_error_the_process_is_replaced(rig: Rig, simulation: Simulation) -> None:
    context, workers = rig({"ours": Kernel(simulation, 80.0), "broken": Kernel(simulation, 80.0)})

    def illegal(*_: Any, **__: Any) -> Any:
        raise RuntimeError("an illegal memory access was encountered")

    workers["broken"].watch.function = lambda operation: illegal
    found = measured(context)
    assert found["broken", "streaming"].status == "error"
    assert "illegal memory access" in (found["broken", "streaming"].reason or "")
    assert workers["broken"].stopped
    assert found["ours", "streaming"].status == "ok"


def test_the_rows_judged_have_both_ends_and_fit_the_reference() -> None:
    for classes, rows in ((8, 1 << 20), (1000, 5000), (1 << 16, 9), (1 << 22, 9), (64, 1)):
        block = np.zeros((min(rows, 4), classes), np.float32)
        operation = timed_operations.operation_of("softmax")
        found = device_gate.sampled(operation, (block,), rows, False)
        assert len(found.rows) * classes <= max(3 * (1 << 16), classes)
        assert all(0 <= r < rows for r in found.rows)
        if classes <= 1 << 16:
            assert {0, rows - 1} <= set(found.rows)


def test_a_device_too_small_for_the_buffers_gives_records(
    rig: Rig, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0)})
    monkeypatch.setattr(cuda_driver, "cuda_memory", lambda: (1 << 40, 1 << 14))
    simulation.total = 1 << 17  # others took it after the plan was made
    statuses = {r.status for r in measured(context).values()}
    assert "out_of_memory" in statuses
    assert statuses <= {"out_of_memory", "ok"}
    assert simulation.used == 0


def test_launches_and_a_graph_are_times_of_their_own(rig: Rig, simulation: Simulation) -> None:
    grids: dict[DeviceRegime, DeviceTiming] = {"launches": LATENCY, "graph": LATENCY}
    context, _ = rig({"ours": Kernel(simulation, 1.0)}, grids)
    found = measured(context)
    work = 2 * 64 * 4 / 1.0
    assert found["ours", "launches"].median_ns == pytest.approx(LAUNCH_NS + work, rel=1e-3)
    in_graph = found["ours", "graph"]
    assert in_graph.median_ns == pytest.approx(LAUNCH_NS / GRAPH_CALLS + work, rel=1e-3)
    assert (in_graph.calls_per_sample or 0) % GRAPH_CALLS == 0
    assert in_graph.status == "ok", in_graph.reason
    assert in_graph.percent_of_limit is None


def test_transfers_are_in_fields_of_their_own(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0)})
    record = measured(context)["ours", "streaming"]
    assert record.host_to_device_ns == 1e9  # the simulated transfer takes a second
    assert (record.transfer_bytes or 0) > 0
    assert (record.median_ns or 1e9) < 1e6
    assert (record.first_call_ns or 1e9) < 1e6
    assert max(record.samples_ns or [1e9]) < 1e6


def test_a_wrong_result_is_never_ranked(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0), "wrong": Kernel(simulation, 80.0, 1.001)})
    record = measured(context)["wrong", "streaming"]
    assert record.status == "failed"
    assert record.ranked is False
    assert "accuracy gate" in (record.reason or "")


def test_a_graph_that_is_wrong_is_found(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"wrong": Kernel(simulation, 80.0, 1.001)}, {"graph": LATENCY})
    assert measured(context)["wrong", "graph"].status == "failed"


def test_results_kept_from_another_input_are_found(rig: Rig, simulation: Simulation) -> None:
    class Remembers(Kernel):
        kept: Any = None

        def softmax(self, x: Any, axis: int = -1, out: Any = None) -> Any:
            if self.kept is None:
                self.kept = super().softmax(x, axis, out).copy()
            self.simulation.launch(lambda: np.copyto(out, self.kept), 2 * x.nbytes / 99.0)
            return out

    context, _ = rig({"remembers": Remembers(simulation, 80.0)})
    record = measured(context)["remembers", "streaming"]
    assert record.status == "failed"
    assert record.ranked is False


def test_work_put_off_to_another_stream_is_found(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig(
        {"ours": Kernel(simulation, 80.0), "later": Kernel(simulation, 90.0, deferred_ns=50_000.0)}
    )
    found = measured(context)
    assert found["later", "streaming"].status == "failed"
    assert "put off" in (found["later", "streaming"].reason or "")
    assert found["ours", "streaming"].status == "ok"


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        (DeviceClock(throttled=["hardware thermal slowdown"], source="nvml"), "thermal slowdown"),
        (DeviceClock(reason="NVML: gone"), "unknown"),
    ],
)
def test_throttling_and_unknown_clocks_are_told(
    rig: Rig,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    clock: DeviceClock,
    words: str,
) -> None:
    monkeypatch.setattr(device_throughput, "read_clock", lambda **_: clock)
    context, _ = rig({"ours": Kernel(simulation, 80.0)})
    record = measured(context)["ours", "streaming"]
    assert record.clock_before == record.clock_after == clock
    assert words in " ".join(record.warnings or [])


def test_without_a_limit_nothing_is_called_plausible(
    rig: Rig, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, workers = rig({"ours": Kernel(simulation, 80.0)})

    def broken(*_: Any) -> Any:
        raise RuntimeError("no copy")

    monkeypatch.setattr(workers[device_throughput.MOVER].watch, "device_sample", broken)
    record = measured(context)["ours", "streaming"]
    assert record.percent_of_limit is None
    assert "no limit was measured" in " ".join(record.warnings or [])


def test_without_a_device_a_record_says_why(make_context: Any) -> None:
    context = make_context(["max_shift", "cupy_gpu"])
    if context.unavailable(context.implementations[1]) is None:
        context._unavailable["cupy_gpu"] = "no CUDA device: none for this test"
    (unit,) = device_throughput.plan(context)
    (record,) = unit.measure()
    assert (record.implementation, record.status) == ("cupy_gpu", "unavailable")
    assert record.reason


def test_the_cpu_experiment_leaves_devices_alone(make_context: Any) -> None:
    context = make_context(["cupy_gpu", "max_shift"])
    context._unavailable["cupy_gpu"] = None
    assert throughput.baseline_of(context) == "max_shift"
    names = {c.implementation for u in throughput.plan(context) for c in u.coordinates}
    assert "cupy_gpu" not in names
    assert "max_shift" in names


OTHERS = replace(GRID, classes=(), other_classes=(64,), moved_bytes=1 << 18)
"""The operations other than softmax."""


@pytest.mark.parametrize(
    ("name", "limit", "limit_gbps", "arrays"),
    [
        pytest.param("log_softmax", "copy_kernel", 100.0, 2, marks=pytest.mark.slow),
        pytest.param("cross_entropy", "copy_kernel", 100.0, 2, marks=pytest.mark.slow),
        ("cross_entropy_loss", "read_kernel", 110.0, 1),
        ("softmax_backward", "add_kernel", 105.0, 3),
    ],
)
def test_each_operation_is_set_against_what_moves_as_many_arrays(
    rig: Rig, simulation: Simulation, name: str, limit: str, limit_gbps: float, arrays: int
) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0)}, {"streaming": OTHERS})
    records: list[Any] = [
        r for u in device_throughput.plan(context) for r in u.measure() if name in u.label.split()
    ]
    (ours,) = [r for r in records if r.role == "implementation"]
    assert (ours.operation, ours.status) == (name, "ok"), ours.reason
    assert ours.ranked
    assert ours.limit == limit
    time = arrays * ours.array_bytes / 80.0 + LAUNCH_NS
    assert ours.median_ns == pytest.approx(time, rel=1e-3)
    per_row = (8 + 4) * ours.rows if name.startswith("cross_entropy") else 0
    assert ours.moved_bytes == arrays * ours.array_bytes + per_row
    assert ours.gbps == pytest.approx(ours.moved_bytes / time, rel=1e-3)
    assert arrays * ours.array_bytes == pytest.approx(OTHERS.moved_bytes, rel=0.05)
    (best,) = [r for r in records if r.implementation == limit]
    limit_time = arrays * ours.array_bytes / limit_gbps + LAUNCH_NS
    assert best.gbps == pytest.approx(arrays * ours.array_bytes / limit_time, rel=1e-3)
    assert ours.percent_of_limit == pytest.approx(100 * ours.gbps / best.gbps)
    assert {r.beside for r in records if r.role == "limit"} == {name}
    assert [r.role for r in records].count("control") == 1


@pytest.mark.parametrize(
    "name",
    [
        o.name if o.name == "cross_entropy" else pytest.param(o.name, marks=pytest.mark.slow)
        for o in timed_operations.OPERATIONS[1:]
    ],
)
def test_a_wrong_result_of_any_operation_is_found(
    rig: Rig, simulation: Simulation, name: str
) -> None:
    kernels = {"ours": Kernel(simulation, 80.0), "wrong": Kernel(simulation, 80.0, 1.001)}
    context, _ = rig(kernels, {"streaming": OTHERS})
    records: list[Any] = [
        r for u in device_throughput.plan(context) for r in u.measure() if name in u.label.split()
    ]
    (wrong,) = [r for r in records if r.implementation == "wrong"]
    assert (wrong.status, wrong.ranked) == ("failed", False)
    assert "accuracy gate" in wrong.reason
    assert next(r for r in records if r.implementation == "ours").status == "ok"


def test_a_loss_faster_than_reading_is_rejected(rig: Rig, simulation: Simulation) -> None:
    context, _ = rig({"magic": Kernel(simulation, 150.0)}, {"streaming": OTHERS})
    records: list[Any] = [r for u in device_throughput.plan(context) for r in u.measure()]
    (loss,) = [r for r in records if r.operation == "cross_entropy_loss" and r.role != "control"]
    assert loss.implausible
    assert "read_kernel" in loss.reason


def test_every_cell_of_every_operation_has_a_key_of_its_own(
    rig: Rig, simulation: Simulation
) -> None:
    grid = replace(GRID, other_classes=GRID.classes)
    context, _ = rig({"ours": Kernel(simulation, 80.0)}, {"streaming": grid})
    units = list(device_throughput.plan(context))
    assert [u.coordinates[0].operation for u in units] == [
        o.name for o in timed_operations.OPERATIONS
    ]
    keys = [k for u in units for k in u.keys]
    assert len(set(keys)) == len(keys)


def test_what_an_implementation_lacks_is_unsupported_and_needs_no_limits(
    rig: Rig, simulation: Simulation, tmp_path: Path
) -> None:
    context, _ = rig({"ours": Kernel(simulation, 80.0)}, {"streaming": OTHERS})
    plain = tmp_path / "plain.py"
    source = SOURCE.format(name="plain").partition("\n\n\ndef log_softmax")[0]
    plain.write_text(source + "\n", encoding="utf-8")
    context.implementations = [load(plain)]
    context._unavailable["plain"] = None
    records = [r for u in device_throughput.plan(context) for r in u.measure()]
    assert {r.status for r in records} == {"unsupported", "skipped"}
    assert all(r.reason for r in records)


@pytest.mark.slow
def test_what_was_measured_is_drawn(rig: Rig, simulation: Simulation, tmp_path: Path) -> None:
    grid = replace(GRID, classes=(16, 64, 256), other_classes=(64, 256), moved_bytes=1 << 18)
    kernels = {
        "ours": Kernel(simulation, 96.0),
        "theirs": Kernel(simulation, 60.0),
        "wrong": Kernel(simulation, 80.0, 1.001),
    }
    context, _ = rig(kernels, {"streaming": grid})
    records = [r for u in device_throughput.plan(context) for r in u.measure()]
    run = from_run(report_run.run(records), "")
    groups = device.groups(run)
    assert {g.operation for g in groups} == {o.name for o in timed_operations.OPERATIONS}
    for group in groups:
        with drawing():
            plot = device_plots.by_classes(run, group, styles(run.implementations))
            assert plot is not None
            write(plot, tmp_path)
        assert (tmp_path / f"{plot.name}.svg").stat().st_size > 4000
        shown = [t.get_text() for t in plot.figure.axes[0].texts]  # type: ignore[union-attr]
        limits = {f"limit: {n}" for n in timed_operations.operation_of(group.operation).limits}
        assert {"ours", "theirs", "wrong", *limits} == set(shown)


def test_profiles_keep_the_bytes_constant_and_large() -> None:
    assert FULL.device_timing["streaming"].moved_bytes >= 1 << 30
    assert QUICK.device_timing["streaming"].moved_bytes >= 1 << 30
    for profile in PROFILES.values():
        assert set(profile.device_timing) == {"streaming", "launches", "graph"}
        assert "device_throughput" in profile.experiments


def test_a_backend_without_a_device_says_so() -> None:
    from harness.worker.backends import numpy_arrays

    with pytest.raises(ValueError, match="expected a device; it has none"):
        DeviceStopwatch(numpy_arrays.backend(), lambda name: None).device_facts({}, [])
