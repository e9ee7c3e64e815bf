"""How much is measured: the grids of `smoke`, `quick` and `full`, and what filters leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.registry.contract import CHANGED, OPERATIONS

DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Timing:
    """The grid of one throughput regime.

    Attributes:
        classes: class counts.
        elements: elements of the input (rows = elements // classes); 0 stands for one row.
        rounds: visits to each implementation before the first look; with several processes, to
            each process.
        threads: ``"one"`` and/or ``"all"``.
        allocating_classes: class counts at which the allocating call is measured beside ``out=``.
        cold_classes: class counts at which calls that find their arrays in no cache are measured
            beside the others.
        min_sample_ns: shortest sample.
        warm_up_ns: shortest warm-up after the first call; it ends by its own rule
            (`warmup`).
        warm_up_cap_ns: longest warm-up.
        warm: whether each visit begins with a call that does not count.
        dtypes: formats.
        operations: what is timed: softmax, and by `narrow` those of `TIMED` that are asked for.
        processes: how many processes of each implementation share the rounds, one after the other.
        precision: to which ratios to the baseline are wanted: 0.05 is 5% to either side.
        seconds: that the visits to an implementation may take, on average.
    """

    classes: tuple[int, ...]
    elements: int
    threads: tuple[str, ...] = ("all",)
    allocating_classes: tuple[int, ...] = ()
    min_sample_ns: int = 500_000
    warm_up_ns: int = 10_000_000
    warm: bool = True
    dtypes: tuple[str, ...] = ("float32",)
    warm_up_cap_ns: int = 200_000_000
    cold_classes: tuple[int, ...] = ()
    operations: tuple[str, ...] = ("softmax",)
    processes: int = 1
    precision: float = 0.05
    seconds: float = 0.5
    rounds: int = 6


TIMED = ("softmax", "log_softmax", "softmax_backward", "cross_entropy", *CHANGED)
"""Operations whose result is as large as the input, of which a copy is the limit."""

DeviceRegime = Literal["streaming", "launches", "graph"]


@dataclass(frozen=True)
class DeviceTiming:
    """The grid of one throughput regime on a device.

    Attributes:
        classes: class counts.
        moved_bytes: bytes of input and output together, the same at every class count; less
            where the device's memory lacks; 0 stands for one row.
        rounds: visits to each implementation before the first look.
        dtypes: formats.
        min_sample_ns: shortest window between two events.
        other_classes: class counts at which operations other than softmax are timed.
        warm_up_ns, warm_up_cap_ns, precision, seconds: as in `Timing`.
    """

    classes: tuple[int, ...]
    moved_bytes: int
    dtypes: tuple[str, ...] = ("float32",)
    min_sample_ns: int = 2_000_000
    warm_up_ns: int = 10_000_000
    warm_up_cap_ns: int = 200_000_000
    other_classes: tuple[int, ...] = ()
    precision: float = 0.05
    seconds: float = 0.5
    rounds: int = 6


@dataclass(frozen=True)
class Profile:
    """The grid of a run.

    Attributes:
        name: ``"smoke"``, ``"quick"`` or ``"full"``.
        dtypes: formats of accuracy and overflow.
        sweep_workloads, sweep_classes: accuracy against the class count.
        sweep_elements: elements of a sweep cell, at least one row.
        families, family_classes: workloads measured at a fixed class count.
        map_offsets: decimal offsets of the overflow map, both signs and zero are added.
        map_classes: class counts of the overflow map.
        scan_points: points of a threshold's first scan.
        timing: regime to its grid.
        device_timing: the same for implementations on a device, which the experiment
            ``device_throughput`` measures.
        timeout_s: the longest that one call may take.
        patience_s: how long calls of one implementation may hang in all, in one process.
        again_s: how long timings that stayed open are taken up once more at the end of the run.
    """

    name: str
    dtypes: tuple[str, ...]
    sweep_workloads: tuple[str, ...]
    sweep_classes: tuple[int, ...]
    sweep_elements: int
    families: tuple[str, ...]
    family_classes: tuple[int, ...]
    map_offsets: tuple[float, ...]
    map_classes: tuple[int, ...]
    scan_points: int
    timing: Mapping[str, Timing] = field(default_factory=dict)
    timeout_s: float = 60.0
    patience_s: float = 1e9
    again_s: float = 0.0
    experiments: tuple[str, ...] = ("throughput", "device_throughput", "accuracy", "overflow")
    operations: tuple[str, ...] = tuple(OPERATIONS)
    device_timing: Mapping[DeviceRegime, DeviceTiming] = field(default_factory=dict)


FAMILIES = (
    "normal(scale=0.1)",
    "normal(scale=1)",
    "normal(scale=10)",
    "normal(scale=30)",
    "normal(scale=100)",
    "uniform(low=-10,high=10)",
    "offset(offset=100)",
    "offset(offset=10000)",
    "wide_range",
    "constant",
    "one_dominant",
    "near_ties",
    "ascending",
    "descending",
    "masked(fraction=0.25)",
    "heavy_tailed",
    "digits",
)

_OFFSETS = (1.0, 10.0, 50.0, 80.0, 90.0, 1e2, 1e3, 1e4, 6e4, 1e5, 1e7, 1e10, 1e30, 1e38)

SMOKE = Profile(
    name="smoke",
    dtypes=("float64", "float32"),
    sweep_workloads=("normal(scale=1)",),
    sweep_classes=(2, 10, 1000),
    sweep_elements=1 << 12,
    families=("offset(offset=10000)", "masked(fraction=0.25)"),
    family_classes=(100,),
    map_offsets=(1e2, 1e4),
    map_classes=(2, 100),
    scan_points=512,
    timing={
        "latency": Timing(
            (10,), 0, ("one",), warm_up_ns=1_000_000, warm_up_cap_ns=20_000_000, seconds=0.1
        ),
        "cached": Timing(
            (1000,),
            1 << 16,
            ("one",),
            warm_up_ns=1_000_000,
            warm_up_cap_ns=20_000_000,
            seconds=0.1,
        ),
        "streaming": Timing(
            (1000,),
            1 << 20,
            ("one",),
            warm_up_ns=0,
            warm=False,
            warm_up_cap_ns=20_000_000,
            seconds=0.1,
        ),
    },
    device_timing={
        "streaming": DeviceTiming((1000,), 1 << 26, warm_up_ns=0, other_classes=(1000,)),
        "launches": DeviceTiming((1000,), 0, warm_up_ns=0),
        "graph": DeviceTiming((1000,), 0, warm_up_ns=0),
    },
)

QUICK = Profile(
    name="quick",
    again_s=30.0,
    dtypes=DTYPES,
    sweep_workloads=("normal(scale=10)",),
    sweep_classes=(2, 10, 32, 100, 1000, 10_000, 50_257, 128_256),
    sweep_elements=1 << 15,
    families=FAMILIES,
    family_classes=(1000,),
    map_offsets=_OFFSETS,
    map_classes=(2, 10, 100, 1000, 10_000),
    scan_points=2048,
    timing={
        "latency": Timing((10, 1000, 32_000), 0, ("one",), seconds=0.3),
        "cached": Timing(
            (8, 128, 1000, 32_768), 1 << 17, ("one", "all"), (1000,), seconds=0.4
        ),
        "streaming": Timing(
            (1000,), 1 << 24, ("all",), warm_up_ns=0, warm=False,
            warm_up_cap_ns=50_000_000, seconds=1.0,
        ),
    },
    device_timing={
        "streaming": DeviceTiming(
            (32, 1024, 8192, 32_768, 262_144, 1_000_000), 1 << 30,
            dtypes=("float32", "bfloat16"), other_classes=(1024, 32_768, 131_072),
        ),
        "launches": DeviceTiming((10, 1000, 32_000), 0),
        "graph": DeviceTiming((10, 1000, 32_000), 0),
    },
)  # fmt: skip

FULL = replace(
    QUICK,
    name="full",
    again_s=300.0,
    experiments=(*QUICK.experiments[:2], "conformance", *QUICK.experiments[2:], "claims"),
    sweep_workloads=("normal(scale=1)", "normal(scale=10)", "normal(scale=100)"),
    sweep_classes=(
        2, 3, 8, 10, 32, 71, 100, 128, 1000, 1023, 4096, 10_000, 32_000, 50_257, 128_256,
        151_936, 256_000, 670_091, 1_000_000,
    ),
    sweep_elements=1 << 19,
    family_classes=(10, 1000, 50_257),
    map_classes=(2, 10, 100, 1000, 10_000, 100_000),
    scan_points=8192,
    timing={
        "latency": Timing(
            (10, 100, 1000, 32_000, 50_257, 128_256, 256_000), 0, ("one", "all"),
            dtypes=("float32", "float64"), precision=0.02, seconds=2.0,
        ),
        "cached": Timing(
            (8, 10, 32, 128, 1000, 1023, 4096, 32_768, 131_072), 1 << 17, ("one", "all"),
            (8, 128, 1000, 32_768), dtypes=("float32", "float64"),
            cold_classes=(8, 128, 1000, 32_768), precision=0.02, seconds=2.0,
        ),
        "streaming": Timing(
            (8, 10, 32, 128, 1000, 1023, 4096, 32_768, 50_257, 131_072, 1_000_000),
            1 << 26, ("one", "all"), (1000, 131_072), warm_up_ns=0, warm=False,
            precision=0.02, seconds=8.0,
        ),
    },
    device_timing={
        "streaming": DeviceTiming(
            (8, 32, 128, 256, 512, 1000, 1023, 1024, 2048, 4096, 8192, 16_384, 32_768, 50_257,
             65_536, 131_072, 262_144, 1_000_000, 4_194_304),
            1 << 30, dtypes=("float32", "bfloat16", "float16"),
            other_classes=(128, 1024, 8192, 32_768, 50_257, 65_536, 131_072, 262_144),
        ),
        "launches": DeviceTiming((10, 1000, 4096, 32_000, 128_256, 1_000_000), 0),
        "graph": DeviceTiming((10, 1000, 4096, 32_000, 128_256, 1_000_000), 0),
    },
    timeout_s=300.0,
)  # fmt: skip

PROFILES: Mapping[str, Profile] = {p.name: p for p in (SMOKE, QUICK, FULL)}


@dataclass(frozen=True)
class Filters:
    """What the command line leaves of a profile; an empty tuple leaves everything."""

    implementations: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    workloads: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    logits: tuple[str, ...] = ()
    processes: int = 1
    precision: float | None = None
    seconds: float | None = None


def narrow(profile: Profile, filters: Filters) -> Profile:
    """The profile's grid with the filters applied.

    Class counts and workloads that were asked for replace the profile's own, so that
    ``--classes 777`` measures 777 though no profile has it; formats, operations, experiments and
    thread counts are chosen among those that exist.
    """
    asked: dict[str, object] = {
        "dtypes": filters.dtypes,
        "operations": filters.operations,
        "experiments": filters.experiments,
        "sweep_classes": filters.classes,
        "family_classes": filters.classes,
        "map_classes": filters.classes,
    }
    changes = {name: chosen for name, chosen in asked.items() if chosen}
    if filters.workloads:
        changes |= {"sweep_workloads": (), "families": filters.workloads}
        if not filters.classes:
            counts = (*profile.sweep_classes, *profile.family_classes)
            changes["family_classes"] = tuple(sorted(set(counts)))
    timing = {}
    for regime, grid in profile.timing.items():
        if filters.regimes and regime not in filters.regimes:
            continue
        if filters.dtypes:
            grid = replace(grid, dtypes=filters.dtypes)
        if filters.operations:
            grid = replace(grid, operations=tuple(o for o in filters.operations if o in TIMED))
        if filters.classes:
            both = tuple(c for c in grid.allocating_classes if c in filters.classes)
            cold = tuple(c for c in grid.cold_classes if c in filters.classes)
            grid = replace(
                grid, classes=filters.classes, allocating_classes=both, cold_classes=cold
            )
        if filters.threads:
            kept = tuple(t for t in grid.threads if t in filters.threads)
            grid = replace(grid, threads=kept or filters.threads)
        grid = replace(
            grid,
            processes=filters.processes,
            precision=filters.precision or grid.precision,
            seconds=grid.seconds if filters.seconds is None else filters.seconds,
        )
        timing[regime] = grid
    on_device = {
        name: replace(
            grid,
            dtypes=filters.dtypes or grid.dtypes,
            classes=filters.classes or grid.classes,
            other_classes=grid.other_classes and (filters.classes or grid.other_classes),
        )
        for name, grid in profile.device_timing.items()
        if not filters.regimes or name in filters.regimes
    }
    return replace(profile, timing=timing, device_timing=on_device, **changes)  # type: ignore[arg-type]
