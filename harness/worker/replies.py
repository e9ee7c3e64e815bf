"""What a worker may answer to each command: names, types and ranges.

A worker runs a stranger's code, and may say anything. What is no answer of these is a fault of the
worker when it comes in, and never an exception in the middle of a unit that others share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Times = list[Time]
Shapes = list[list[Count]]


class _Load(TypedDict):
    backend_version: NotRequired[str | None]


class _Threads(TypedDict):
    threads: int | None


class _Run(TypedDict):
    input_modified: bool


class _Placement(TypedDict):
    nodes: NotRequired[dict[str, Time] | None]
    huge: NotRequired[Time | None]
    alignment: Count


class _Prepared(TypedDict):
    first_call_ns: Time
    calls: Annotated[int, Field(ge=1)]
    per_call_ns: Time
    warm_up_ns: Time
    warm_up_calls: Count
    warm_up_settled: bool


class _Prepare(_Prepared):
    threads_found: dict[str, int]
    helped: NotRequired[bool]
    input_placement: NotRequired[_Placement | None]
    output_placement: NotRequired[_Placement | None]


class _Visit(TypedDict):
    probe_ns: Time
    samples: list[Annotated[Times, Field(min_length=4, max_length=4)]]
    elsewhere_ns: Count


class _Verify(TypedDict):
    shape: list[Count] | None
    dtype: str | None
    type: str | None
    changed: NotRequired[str | None]
    out_ignored: bool
    input_modified: bool
    unseen_ns: Times
    repeated_ns: Times
    unseen_cpu_ns: Times
    repeated_cpu_ns: Times
    restless_ns: NotRequired[list[Finite]]  # less what the loop itself takes
    restless_cpu_ns: NotRequired[list[Finite]]
    restless_probe_ns: NotRequired[Times]


class _Peak(TypedDict):
    extra: NotRequired[int | None]
    resident: NotRequired[int | None]


class _Counted(TypedDict):
    cycles: Count
    instructions: Count
    cache_misses: Count


class _OutputRows(TypedDict):
    shapes: Shapes
    dtypes: list[str]


class _DeviceFacts(TypedDict):
    name: str
    l2_bytes: int
    free_bytes: int
    total_bytes: int


class _DevicePlace(TypedDict):
    host_to_device_ns: Time
    device_to_host_ns: Time
    transfer_bytes: Count


class _DevicePrepare(_Prepared):
    clock: str


class _DeviceSample(TypedDict):
    elapsed_ns: Time
    after_ns: Finite


class _DeviceOutput(TypedDict):
    shapes: Shapes


_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    "load": TypeAdapter(_Load),
    "threads": TypeAdapter(_Threads),
    "run": TypeAdapter(_Run),
    "prepare": TypeAdapter(_Prepare),
    "visit": TypeAdapter(_Visit),
    "verify": TypeAdapter(_Verify),
    "peak": TypeAdapter(_Peak),
    "count": TypeAdapter(_Counted),
    "output_rows": TypeAdapter(_OutputRows),
    "device_facts": TypeAdapter(_DeviceFacts),
    "device_place": TypeAdapter(_DevicePlace),
    "device_prepare": TypeAdapter(_DevicePrepare),
    "device_sample": TypeAdapter(_DeviceSample),
    "device_output": TypeAdapter(_DeviceOutput),
}


def checked(command: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with what its command may answer and nothing else; that of others as it is.

    Raises:
        ValueError: saying what is wrong with it, in one line.
    """
    adapter = _ADAPTERS.get(command)
    if adapter is None:
        return dict(answer)
    try:
        return adapter.validate_python(dict(answer), strict=True)  # type: ignore[no-any-return]
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        got = "" if first["type"] == "missing" else f"; got {first['input']!r:.60}"
        raise ValueError(f"{where}: {first['msg']}{got}") from None
