"""The contract of an implementation: a plain module whose functions are named after operations.

Metadata and operations are read from the syntax tree, so that listing never imports a module.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import UserError

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "softmax": ("x", "axis", "out"),
    "log_softmax": ("x", "axis", "out"),
    "logsumexp": ("x", "axis"),
    "softmax_backward": ("grad", "y", "axis"),
    "cross_entropy": ("logits", "targets"),
    "scaled_softmax": ("x", "scale", "axis", "out"),
    "masked_softmax": ("x", "mask", "axis", "out"),
    "softmax_with_sink": ("x", "sink", "axis", "out"),
    "softcap_softmax": ("x", "cap", "axis", "out"),
    "merge_logsumexp": ("m1", "s1", "m2", "s2"),
    "linear_cross_entropy": ("hidden", "weight", "targets"),
    "attention_weights": ("x", "axis"),
    "ragged_softmax": ("values", "offsets", "out"),
}
"""Operation to the parameters of its signature; `out` is optional (design of the contract)."""

OPTIONAL = tuple(OPERATIONS)[5:]
"""Nobody need offer them, and a file may well have something of its own under these names: with
other parameters, not offered."""

CHANGED = OPTIONAL[:4]
"""Softmax of logits that are scaled, masked, beside a sink, or capped."""

IN_PARTS = ("merge_logsumexp", "linear_cross_entropy")
"""Of which a call gives several results, none of them a softmax."""

RAGGED = "ragged_softmax"
"""Softmax of rows of unlike lengths: ``values[offsets[i]:offsets[i + 1]]`` is row i."""

NUMBERS = frozenset({"scale", "sink", "cap"})
"""Parameters that are a number, and no array; they are passed by name."""


def arrays_of(operation: str) -> int:
    """How many arrays an operation takes."""
    return sum(p not in NUMBERS and p not in ("axis", "out") for p in OPERATIONS[operation])


RESERVED = frozenset(
    {"copy_regular", "copy_nontemporal", "exp_only", "device copy"}
    | {"copy_kernel", "copy_memcpy", "read_kernel", "add_kernel"}
)
"""Names of limits: an implementation of that name would be timed as the machine's limit."""

RESERVED_END = " (control)"
"""The end of the names of controls."""

DEVICES = ("cpu", "cuda")
MAX_SOURCE = 16 << 20
"""Bytes of a module's source; its syntax tree takes some hundred times as many."""

_TEXT = ("backend", "device", "source", "formula", "bound", "threads", "accumulator", "weights")
_TEXTS = ("dtypes", "requires", "programs", "files")
_KNOWN = {*_TEXT, *_TEXTS, "passes", "deviations", "parameters", "by_name"}

MOST_SETTINGS = 64
"""Of the parameters of ``attention_weights``, each of which is judged."""


class ImplementationError(UserError):
    """A module that breaks the contract; the message is one line that says what to do."""


@dataclass(frozen=True)
class Deviation:
    """A departure from the right answer that follows from the algorithm, declared with its reason.

    Attributes:
        id: what deviates (``"overflow"``, ``"offset"``, ``"order"``, a catalogue case, ...).
        reason: why, in a sentence that the report prints beside every affected result.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Metadata:
    """What a module says of itself; the defaults are those of a plain NumPy file.

    Attributes:
        name: the file's stem.
        path: the source file.
        documentation: the module's docstring.
        operations: operations that it offers, in the order of `OPERATIONS`.
        operations_with_out: those of them that take ``out=``.
        backend: array library of its arguments and results.
        device: ``"cpu"`` or ``"cuda"``.
        dtypes: formats that it declares; None where it declares none.
        requires: import names of the packages that it needs; of ``"a|b"`` either will do.
        programs: names of the programs that it calls, such as a compiler.
        source: paper or documentation.
        formula: what it computes, in Unicode.
        bound: name of the error bound that applies (`harness.bounds.BOUNDS`).
        passes: how often it reads or writes a whole array in memory.
        threads: ``"single"`` or ``"many"``.
        accumulator: format of its intermediate sums where it is not that of its input.
        weights: format to which ``attention_weights`` rounds exp(x - m) before the division.
        parameters: of ``attention_weights``, by name, with the numbers that are tried.
        defaults: what they are in its signature, which is what it is judged at.
        deviations: declared departures.
        by_name: it takes part in a run only where that names it.
        offers_exp: the module has an ``exp`` of its own whose error can be measured.
        offers_loss: the module has a ``cross_entropy_loss(logits, targets)``, the loss of
            ``cross_entropy`` without its gradient, which is timed on a device.
        files: other sources that it is made of, in its folder or below: device code that it
            declares, and private modules (``_name.py``) that it imports.
        fault: why it cannot be used at all, whatever is installed; None for one that can.
    """

    name: str
    path: Path
    documentation: str
    operations: tuple[str, ...]
    operations_with_out: tuple[str, ...]
    backend: str = "numpy"
    device: str = "cpu"
    dtypes: tuple[str, ...] | None = None
    requires: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    source: str | None = None
    formula: str | None = None
    bound: str | None = None
    passes: int | None = None
    threads: str | None = None
    accumulator: str | None = None
    weights: str | None = None
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    by_name: bool = False
    offers_exp: bool = False
    offers_loss: bool = False
    files: tuple[Path, ...] = ()
    fault: str | None = None

    @property
    def description(self) -> str:
        """The first line of the docstring."""
        return self.documentation.strip().split("\n", 1)[0]

    def sha256(self) -> str:
        """Digest of the module's source and of its other files; empty for one with a fault."""
        if self.fault is not None:  # there may be no such file
            return ""
        digest = hashlib.sha256(self.path.read_bytes())
        for file in sorted(self.files):
            digest.update(file.read_bytes())
        return digest.hexdigest()


def _check_signature(path: Path, function: ast.FunctionDef) -> bool:
    """Whether ``out=`` is supported; raises where required parameters do not fit.

    Those of a decorated function may be others than its callers see: they refuse nothing.
    """
    wanted = OPERATIONS[function.name]
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    names = [p.arg for p in (*positional, *a.kwonlyargs)]
    required = len(positional) - len(a.defaults)
    data = arrays_of(function.name)
    by_name = [p for p in wanted if p == "axis" or p in NUMBERS]
    takes = a.kwarg is not None or all(p in names for p in by_name)
    needed = data + sum(p in NUMBERS for p in wanted)
    if (len(positional) < data and a.vararg is None) or required > needed or not takes:
        if function.decorator_list:
            return False
        raise ImplementationError(
            f"{path}: {function.name}: expected the signature "
            f"{function.name}({', '.join(wanted)}), with axis and out optional; "
            f"got {function.name}({', '.join(names)})"
        )
    return "out" in wanted and "out" in names


def _shown(node: ast.expr) -> str:
    with contextlib.suppress(RecursionError):
        return ast.unparse(node)[:80]
    return "an expression too deep to show"


def _literal(path: Path, node: ast.expr) -> dict[str, Any]:
    """The dict that ``IMPLEMENTATION`` is, read without running anything."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ImplementationError(
            f"{path}: IMPLEMENTATION: expected a literal dict (it is read without running the "
            f"module); got {_shown(node)!r}"
        ) from None
    if not isinstance(value, dict):
        raise ImplementationError(
            f"{path}: IMPLEMENTATION: expected a dict; got {type(value).__name__}"
        )
    return value


def _refused(path: Path, key: str, expected: str, got: object) -> ImplementationError:
    return ImplementationError(f"{path}: IMPLEMENTATION[{key!r}]: expected {expected}; got {got!r}")


def _check_entries(path: Path, declared: Mapping[str, Any]) -> None:
    """Refuse entries that are unknown or of the wrong kind."""
    unknown = sorted(str(k) for k in declared if k not in _KNOWN)
    if unknown:
        raise ImplementationError(
            f"{path}: IMPLEMENTATION: unknown entries {', '.join(unknown)}; "
            f"known are {', '.join(sorted(_KNOWN))}"
        )
    for key in _TEXT:
        if not isinstance(declared.get(key, ""), str):
            raise _refused(path, key, "a string", declared[key])
    for key in _TEXTS:
        entry = declared.get(key, ())
        if not isinstance(entry, list | tuple) or not all(isinstance(t, str) for t in entry):
            raise _refused(path, key, "a tuple of strings", entry)
    if declared.get("device", "cpu") not in DEVICES:
        raise _refused(path, "device", f"one of {', '.join(DEVICES)}", declared["device"])
    passes = declared.get("passes")
    if passes is not None and (not isinstance(passes, int) or passes < 1):
        raise _refused(path, "passes", "a positive integer", passes)
    if not isinstance(declared.get("by_name", False), bool):
        raise _refused(path, "by_name", "True or False", declared["by_name"])
    for name in declared.get("files", ()):
        parts = Path(name)
        if ".." in parts.parts or parts.is_absolute() or not (path.parent / name).is_file():
            raise _refused(path, "files", "files in the module's folder or below", name)
    parameters = declared.get("parameters", {})
    numbers = isinstance(parameters, dict) and all(
        isinstance(values, list | tuple) and values and all(type(v) in (int, float) for v in values)
        for values in parameters.values()
    )
    settings = math.prod(len(values) for values in parameters.values()) if numbers else 0
    if not 0 < settings <= MOST_SETTINGS:
        raise _refused(
            path, "parameters", f"a dict of name to a tuple of numbers, of {MOST_SETTINGS} "
            "combinations at most", parameters,
        )  # fmt: skip
    deviations = declared.get("deviations", ())
    if not isinstance(deviations, list | tuple):
        raise _refused(path, "deviations", "a tuple of dicts", deviations)
    for entry in deviations:
        if not isinstance(entry, dict) or set(entry) != {"id", "reason"}:
            raise _refused(path, "deviations", "dicts with 'id' and 'reason'", entry)


def _check_names(path: Path, declared: Mapping[str, Any]) -> None:
    """Refuse formats and bounds that do not exist: every experiment looks them up."""
    from harness.bounds import BOUNDS  # both take a while, and plain files declare neither
    from harness.numerics.formats import FORMATS

    for key, known in (
        ("dtypes", FORMATS),
        ("accumulator", FORMATS),
        ("weights", FORMATS),
        ("bound", BOUNDS),
    ):
        given = declared.get(key, ())
        for name in (given,) if isinstance(given, str) else given:
            if name not in known:
                more = " (softmax-bench list bounds says what each is)" if key == "bound" else ""
                raise ImplementationError(
                    f"{path}: IMPLEMENTATION[{key!r}] is {given!r}; expected one of "
                    f"{', '.join(known)}{more}"
                )


def _private_modules(path: Path, tree: ast.Module) -> tuple[Path, ...]:
    """Private modules that `path` imports, directly or not: ``_name.py``, or below ``_name/``.

    Raises:
        ImplementationError: one of them cannot be read.
    """
    found: dict[Path, None] = {}
    left = [(path, _private_names(tree))]
    while left:
        importer, names = left.pop()
        for file in _candidates(names, dict.fromkeys((path.parent, importer.parent))):
            if file not in found and file.is_file():
                found[file] = None
                left.append((file, _names_imported_by(file, file.stat().st_mtime_ns)))
    return tuple(found)


@lru_cache(maxsize=1024)
def _names_imported_by(file: Path, modified_ns: int) -> tuple[str, ...]:
    """The private names that `file` imports; kept until it is modified, since many share it."""
    return _private_names(_parsed(file))


_HOLDS_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def _private_names(tree: ast.Module) -> tuple[str, ...]:
    """The imported names that have a private part, from that part on: ``_b.c`` of ``a._b.c``."""
    found = []
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # of any depth, but no expression, which ast.walk would go through too
        nodes += (n for n in ast.iter_child_nodes(node) if isinstance(n, _HOLDS_STATEMENTS))
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            for parts in (f"{module}{alias.name}".split(".") for alias in node.names):
                private = [p.startswith("_") and not p.startswith("__") for p in parts]
                if any(private):
                    found.append(".".join(parts[private.index(True) :]))
    return tuple(found)


def _candidates(names: Iterable[str], folders: Iterable[Path]) -> Iterator[Path]:
    """Where a module or a package of these dotted names would lie: ``_b.c`` is ``_b/c.py``."""
    for parts in (name.split(".") for name in names):
        for folder in folders:
            for k in range(1, len(parts) + 1):
                yield folder.joinpath(*parts[: k - 1], f"{parts[k - 1]}.py")
                yield folder.joinpath(*parts[:k], "__init__.py")


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module's own level, those under ``if``, ``try`` and ``with`` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _statements(node.body)
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.orelse)
        if isinstance(node, ast.Try):
            yield from (s for handler in node.handlers for s in _statements(handler.body))


def _bound_names(node: ast.stmt) -> list[str]:
    """Names that an assignment binds, such as ``softmax = functools.partial(...)``."""
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return [node.target.id]
    return []


def _operations(path: Path, tree: ast.Module) -> dict[str, bool]:
    """The operations that a module offers, and whether each is seen to take ``out=``.

    They are its functions of that name, and its variables. Names that it imports count where it
    has no operation of its own: elsewhere they may be what it makes its operations from.
    """
    own: dict[str, bool] = {}
    imported: dict[str, bool] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name in OPERATIONS:
            ours = node.name not in OPTIONAL
            with contextlib.nullcontext() if ours else contextlib.suppress(ImplementationError):
                own[node.name] = _check_signature(path, node)
        elif isinstance(node, ast.ImportFrom):
            names = (alias.asname or alias.name for alias in node.names)
            imported.update((name, False) for name in names if name in OPERATIONS)
        for name in _bound_names(node):
            if name in OPERATIONS:
                own.setdefault(name, False)  # softmax = jit(softmax) keeps what its def said
    return own or imported


def _parsed(path: Path) -> ast.Module:
    """The syntax tree of a source file.

    Raises:
        ImplementationError: there is no such file, or it is no source of a module.
    """
    why: object
    try:
        path.stat()  # says so if there is none
        if not path.is_file():  # a pipe would be waited for
            raise ImplementationError(f"{path}: expected a file of Python source; it is none")
        if path.stat().st_size > MAX_SOURCE:
            raise ImplementationError(
                f"{path}: expected a source of at most {MAX_SOURCE >> 20} MiB; "
                f"it has {path.stat().st_size} bytes"
            )
        return ast.parse(path.read_bytes(), filename=str(path))  # decoded as Python decodes it
    except FileNotFoundError:
        raise ImplementationError(
            f"{path}: no such file; give the path of a Python module, or a name that "
            f"`softmax-bench list` shows"
        ) from None
    except ImplementationError:
        raise
    except (OSError, SyntaxError, ValueError) as e:
        why = e
    except (RecursionError, MemoryError):  # what the parser raises for either
        why = "its expressions are nested too deeply"
    raise ImplementationError(f"{path}: cannot be read as a Python module: {why}") from None


def _defaults(
    path: Path, tree: ast.Module, names: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """The numbers that parameters of ``attention_weights`` have in its signature.

    Raises:
        ImplementationError: it has no such parameter, or one without a number that is tried.
    """
    found: dict[str, float] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == "attention_weights":
            a = node.args
            ordinary = [*a.posonlyargs, *a.args]
            pairs = zip(ordinary[len(ordinary) - len(a.defaults) :], a.defaults, strict=True)
            for parameter, default in (*pairs, *zip(a.kwonlyargs, a.kw_defaults, strict=True)):
                with contextlib.suppress(ValueError, TypeError):
                    value: Any = None if default is None else ast.literal_eval(default)
                    if type(value) in (int, float):
                        found[parameter.arg] = value
    missing = [name for name in names if name not in found]
    if missing:
        raise ImplementationError(
            f"{path}: attention_weights: expected the declared parameters {', '.join(missing)} "
            f"with a number as their default"
        )
    for name, tried in names.items():
        if found[name] not in tried:
            raise ImplementationError(
                f"{path}: attention_weights: expected a default among the declared numbers of "
                f"{name}, {', '.join(map(str, tried))}; got {name}={found[name]}"
            )
    return {name: found[name] for name in names}


def read_metadata(path: Path) -> Metadata:
    """The metadata of the module at `path`, from its syntax tree: nothing is imported or run.

    Raises:
        ImplementationError: the file cannot be parsed, offers no operation, has an operation
            with the wrong signature or a malformed ``IMPLEMENTATION``.
    """
    if path.stem in RESERVED or path.stem.endswith(RESERVED_END):
        raise ImplementationError(
            f"{path}: the harness measures something of its own under the name {path.stem!r}; "
            f"rename the file"
        )
    tree = _parsed(path)
    declared: dict[str, Any] = {}
    offers_exp = offers_loss = False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            offers_exp |= node.name == "exp"
            offers_loss |= node.name == "cross_entropy_loss"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and "IMPLEMENTATION" in _bound_names(
            node
        ):
            declared = _literal(path, node.value or ast.Constant(None))
            _check_entries(path, declared)
            _check_names(path, declared)
    operations = _operations(path, tree)
    if not operations:
        raise ImplementationError(
            f"{path}: offers no operation; define at least one function named "
            f"{', '.join(OPERATIONS)}"
        )
    as_declared = {k: v for k, v in declared.items() if k not in ("files", "deviations")}
    as_declared |= {k: tuple(v) for k, v in as_declared.items() if k in _TEXTS}
    if "parameters" in declared:
        as_declared["parameters"] = {k: tuple(v) for k, v in declared["parameters"].items()}
        as_declared["defaults"] = _defaults(path, tree, declared["parameters"])
    return Metadata(
        name=path.stem,
        path=path,
        documentation=ast.get_docstring(tree) or "",
        operations=tuple(o for o in OPERATIONS if o in operations),
        operations_with_out=tuple(o for o in OPERATIONS if operations.get(o)),
        deviations=tuple(
            Deviation(str(d["id"]), str(d["reason"])) for d in declared.get("deviations", ())
        ),
        offers_exp=offers_exp,
        offers_loss=offers_loss,
        files=(
            *(path.parent / name for name in declared.get("files", ())),
            *_private_modules(path, tree),
        ),
        **as_declared,
    )
