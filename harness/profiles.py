"""How much is measured: the grids of `smoke`, `quick` and `full`, and what filters leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.implementation import OPERATIONS

DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Timing:
    """The grid of one throughput regime.

    Attributes:
        classes: class counts.
        elements: elements of the input (rows = elements // classes); 0 stands for one row.
        rounds: samples of each implementation.
        threads: ``"one"`` and/or ``"all"``.
        allocating_classes: class counts at which the allocating call is measured beside ``out=``.
        min_sample_ns: shortest sample.
        warm_up_ns: warm-up after the first call.
        warm_calls: uncounted calls before each sample.
        dtypes: formats.
    """

    classes: tuple[int, ...]
    elements: int
    rounds: int
    threads: tuple[str, ...] = ("all",)
    allocating_classes: tuple[int, ...] = ()
    min_sample_ns: int = 1_000_000
    warm_up_ns: int = 10_000_000
    warm_calls: int = 1
    dtypes: tuple[str, ...] = ("float32",)


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
        timeout_s: the longest that one call may take.
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
    experiments: tuple[str, ...] = ("accuracy", "overflow", "throughput", "claims")
    operations: tuple[str, ...] = tuple(OPERATIONS)


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
    experiments=("accuracy", "overflow", "throughput"),
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
        "latency": Timing((10,), 0, 3, ("one",), warm_up_ns=1_000_000),
        "cached": Timing((128, 1000), 1 << 16, 3, warm_up_ns=1_000_000),
        "streaming": Timing((1000,), 1 << 20, 3, warm_up_ns=0, warm_calls=0),
    },
)

QUICK = Profile(
    name="quick",
    dtypes=DTYPES,
    sweep_workloads=("normal(scale=10)",),
    sweep_classes=(2, 10, 32, 100, 1000, 10_000, 50_257, 131_072, 1_000_000),
    sweep_elements=1 << 15,
    families=FAMILIES,
    family_classes=(1000,),
    map_offsets=_OFFSETS,
    map_classes=(2, 10, 100, 1000, 10_000),
    scan_points=2048,
    timing={
        "latency": Timing((10, 1000, 32_000), 0, 15, ("one",)),
        "cached": Timing((8, 32, 128, 1000, 4096, 32_768), 1 << 17, 11, ("one", "all"), (1000,)),
        "streaming": Timing(
            (32, 1000, 32_768, 1_000_000),
            1 << 24,
            5,
            ("all",),
            (1000,),
            min_sample_ns=25_000_000,
            warm_up_ns=0,
            warm_calls=0,
        ),
    },
)

FULL = replace(
    QUICK,
    name="full",
    experiments=("conformance", *QUICK.experiments),
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
            (10, 100, 1000, 32_000, 50_257, 128_256, 256_000), 0, 31, ("one", "all"),
            dtypes=("float32", "float64"),
        ),
        "cached": Timing(
            (8, 10, 32, 128, 1000, 1023, 4096, 32_768, 131_072), 1 << 17, 31, ("one", "all"),
            (8, 128, 1000, 32_768), dtypes=("float32", "float64"),
        ),
        "streaming": Timing(
            (8, 10, 32, 128, 1000, 1023, 4096, 32_768, 50_257, 131_072, 1_000_000),
            1 << 26, 9, ("one", "all"), (1000, 131_072), warm_up_ns=0, warm_calls=0,
        ),
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
    logits: str | None = None


def narrow(profile: Profile, filters: Filters) -> Profile:
    """The profile's grid with the filters applied.

    Class counts and workloads that were asked for replace the profile's own, so that
    ``--classes 777`` measures 777 though no profile has it; formats, operations, experiments and
    thread counts are chosen among those that exist.
    """
    changes: dict[str, object] = {}
    if filters.dtypes:
        changes["dtypes"] = filters.dtypes
    if filters.operations:
        changes["operations"] = filters.operations
    if filters.experiments:
        changes["experiments"] = filters.experiments
    if filters.classes:
        changes |= {
            "sweep_classes": filters.classes,
            "family_classes": filters.classes,
            "map_classes": filters.classes,
        }
    if filters.workloads:
        changes |= {"sweep_workloads": (), "families": filters.workloads}
        if not filters.classes:
            counts = (*profile.sweep_classes, *profile.family_classes)
            changes["family_classes"] = tuple(sorted(set(counts)))
    timing = {}
    for regime, grid in profile.timing.items():
        if filters.dtypes:
            grid = replace(grid, dtypes=filters.dtypes)
        if filters.classes:
            both = tuple(c for c in grid.allocating_classes if c in filters.classes)
            grid = replace(grid, classes=filters.classes, allocating_classes=both)
        if filters.threads:
            kept = tuple(t for t in grid.threads if t in filters.threads)
            grid = replace(grid, threads=kept or filters.threads)
        timing[regime] = grid
    return replace(profile, timing=timing, **changes)  # type: ignore[arg-type]
