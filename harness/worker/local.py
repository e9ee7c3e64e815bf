"""An implementation called in this process: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import implementations as built_in_package
from harness.numerics.arguments import checked_axis, checked_offsets, checked_targets
from harness.registry import discovery
from harness.registry.contract import (
    OPERATIONS,
    RAGGED,
    ImplementationError,
    Metadata,
    arrays_of,
)
from harness.registry.discovery import Implementation
from harness.worker import backends

_OF_ROWS = ("softmax", "log_softmax")
"""Operations of one array along an axis, which callers call most."""

_LAST = object()
"""Stands for an axis that was not given."""


class ImplementationUnavailable(RuntimeError):
    """A call of an implementation that cannot run here; the message is the reason."""


class LocalImplementation(Implementation):
    """An implementation that takes and gives NumPy arrays, imported at its first call.

    Each operation that the module offers is a method of the same name; an operation that it
    lacks is no attribute. The other attributes are those of `Implementation`.
    """

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(metadata)
        self._module: ModuleType | None = None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.operations]

    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_") or operation not in self.operations:
            raise AttributeError(
                f"implementation {self.name!r} offers no {operation!r}; "
                f"it offers {', '.join(self.operations)}"
            )

        def call(*arrays: Any, **options: Any) -> Any:
            return self._call(operation, *arrays, **options)

        if self.metadata.backend == "numpy" and operation in _OF_ROWS:
            call = self._direct(operation, call)
        call.__name__ = operation
        setattr(self, operation, call)  # where it is found without this from now on
        return call

    def _direct(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, but as most callers call it, which a comparison or two can see: the function."""
        takes_out = operation in self.metadata.operations_with_out
        function: Callable[..., Any] | None = None

        def direct(*given: Any, axis: Any = _LAST, out: Any = None, **options: Any) -> Any:
            nonlocal function
            if function is not None and len(given) == 1 and not options:
                (x,) = given
                along = -1 if axis is _LAST else axis
                if type(x) is np.ndarray and type(along) is int and -x.ndim <= along < x.ndim:
                    if out is None:
                        result = function(x, axis=along)
                        if type(result) is np.ndarray:
                            return result
                        return _delivered(result, None, np.asarray)
                    if takes_out and type(out) is np.ndarray:
                        result = function(x, axis=along, out=out)
                        return out if result is out else _delivered(result, out, np.asarray)
            if axis is not _LAST:
                options["axis"] = axis
            result = call(*given, out=out, **options)
            function = getattr(self.module(), operation)
            return result

        return direct

    def module(self) -> ModuleType:
        """The module itself, imported now if it was not.

        Raises:
            ImplementationUnavailable: what it requires is missing here.
        """
        if self._module is None:
            reason = self.unavailable_reason
            if reason is not None:
                raise ImplementationUnavailable(f"{self.name}: {reason}")
            backends.get(self.metadata.backend)  # it may have to prepare its library's import
            self._module = import_module(self.metadata)
        return self._module

    def _call(self, operation: str, *given: Any, out: Any = None, **options: Any) -> Any:
        arrays, options = _arguments(operation, given, options)
        function = getattr(self.module(), operation)
        backend = backends.get(self.metadata.backend)
        native = [backend.from_numpy(a) for a in arrays]
        if out is None:
            result = function(*native, **options)
        elif operation not in self.metadata.operations_with_out:
            raise TypeError(f"{self.name}.{operation} takes no out=; call it without")
        else:
            native_out = native[0] if out is given[0] else backend.from_numpy(out)
            result = function(*native, out=native_out, **options)
        backend.synchronize()
        return _delivered(result, out, backend.to_numpy)


def _delivered(result: Any, out: NDArray[Any] | None, to_numpy: Callable[[Any], Any]) -> Any:
    """What a function returned, as NumPy arrays; in `out` if that was given."""
    if result is out and out is not None:
        return out
    if isinstance(result, tuple):
        return tuple(to_numpy(r) for r in result)
    array = to_numpy(result)
    if out is None:
        return array
    if not np.shares_memory(array, out):
        np.copyto(out, array)
    return out


def _arguments(
    operation: str, given: tuple[Any, ...], options: dict[str, Any]
) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """The arrays of a call and its options, refused in one line as the reference refuses them.

    Raises:
        TypeError: for a missing array, an axis that is no integer, targets or
            offsets that are no integers.
        ValueError: for shapes that do not fit, targets or an axis (AxisError) out of range, offsets
            that do not ascend from 0 to the number of values.
    """
    count = arrays_of(operation)
    more = [p for p in OPERATIONS[operation][count:] if p != "out"]
    if not count <= len(given) <= count + len(more):
        raise TypeError(f"{operation}: expected {count} arrays; got {len(given)} arguments")
    options = {**dict(zip(more, given[count:], strict=False)), **options}
    missing = [p for p in more if p != "axis" and p not in options]
    if missing:
        raise TypeError(f"{operation}: expected {', '.join(missing)}, a number; got none")
    arrays = [np.asarray(a) for a in given[:count]]
    if operation == "linear_cross_entropy":
        arrays[2] = checked_targets(arrays[2], (*arrays[0].shape[:-1], len(arrays[1])))
    elif operation == "cross_entropy":
        arrays[1] = checked_targets(arrays[1], arrays[0].shape)
    elif operation == RAGGED:
        checked_offsets(arrays[1], arrays[0].shape)
    elif operation == "softmax_backward" and arrays[0].shape != arrays[1].shape:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"grad, y: expected one shape; got {shapes}")
    if "axis" in options:
        axis, ndim = options["axis"], arrays[0].ndim
        checked_axis(axis, ndim)
        options = {**options, "axis": int(axis)}
    return arrays, options


def import_module(metadata: Metadata) -> ModuleType:
    """Import the module: built-in ones by name, others from their path under a private name.

    Modules beside a file of the latter kind can be imported by it.
    """
    built_in = Path(built_in_package.__path__[0]).resolve()
    if metadata.path.resolve().parent == built_in:
        return importlib.import_module(f"implementations.{metadata.name}")
    name = f"_softmax_bench_{metadata.name}"
    spec = importlib.util.spec_from_file_location(name, metadata.path)
    if spec is None or spec.loader is None:
        raise ImplementationError(f"{metadata.path}: expected a Python source file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and numba look their module up by name
    folder = str(metadata.path.resolve().parent)
    if folder not in sys.path:  # last: a file beside it must not stand in for a package
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@cache
def implementations() -> Mapping[str, LocalImplementation]:
    """All implementations, by name: built in, then those of entry points.

    An entry point that cannot be used is there as well, unavailable.

    Raises:
        ImplementationError: a built-in module breaks the contract.
    """
    found = discovery.implementations()
    return {name: LocalImplementation(one.metadata) for name, one in found.items()}


def load(name_or_path: str | Path) -> LocalImplementation:
    """An implementation by its name, or by the path of its file (anything ending in ``.py``).

    Raises:
        ImplementationError: no such implementation, or a file that breaks the contract.
    """
    return LocalImplementation(discovery.load(name_or_path).metadata)
