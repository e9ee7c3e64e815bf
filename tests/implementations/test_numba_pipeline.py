"""What our kernels use of Numba beyond its public interface: a new version is judged here first.

`_simd/numba_pipeline` stops the compilation of inner functions at LLVM's code, `_simd/compilation`
names the files of the cache. A name that is missing here says what to mend before the upper bound
of Numba's version in pyproject.toml is raised.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import _dynfunc
from numba.core import base, caching, codegen, compiler, typed_passes
from numba.np.ufunc import parallel
from packaging.requirements import Requirement

from implementations._simd.compilation import SourceCache, internal
from implementations._simd.numba_pipeline import FRAME, INTERNAL

USED = {
    "make_function": _dynfunc,
    "define_nopython_pipeline": compiler.DefaultPassBuilder,
    "run_pass": typed_passes.NativeLowering,
    "declare_function": base.BaseContext,
    "_finalize_dynamic_globals": codegen.CPUCodeLibrary,
    "_optimize_final_module": codegen.CPUCodeLibrary,
    "_finalize_final_module": codegen.CPUCodeLibrary,
    "enable_object_caching": codegen.CPUCodeLibrary,
    "_index_key": caching.FunctionCache,
    "_load_overload": caching.FunctionCache,
    "_save_overload": caching.FunctionCache,
    "_iget_num_threads": parallel,
}


@pytest.mark.parametrize("name", USED)
def test_numba_has_what_the_kernels_use(name: str) -> None:
    assert hasattr(USED[name], name), f"numba {numba.__version__} has no {name}"


def test_the_index_of_its_cache_is_built_as_ours_expects() -> None:
    assert list(inspect.signature(caching.IndexDataCacheFile).parameters)[:3] == [
        "cache_path", "filename_base", "source_stamp",
    ]  # fmt: skip
    assert issubclass(SourceCache, caching.FunctionCache)


def test_an_inner_function_has_no_machine_code_and_works_in_its_caller() -> None:
    def twice(x):  # type: ignore[no-untyped-def]
        return 2.0 * x

    inner = internal(twice)

    @numba.njit
    def outer(x):  # type: ignore[no-untyped-def]
        return inner(x) + 1.0

    assert outer(3.0) == 7.0
    (compiled,) = inner.overloads.values()
    assert compiled.library._finalized
    # vectors that wait in its frame never lie across the end of a page
    assert f"alignstack({FRAME})" in str(compiled.library._final_module)
    assert INTERNAL["no_cpython_wrapper"]
    assert np.isfinite(outer(1.0))


def test_the_version_of_numba_has_an_upper_bound_that_this_one_keeps() -> None:
    root = Path(__file__).parents[2]
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [d for d in tomllib.loads(text)["project"]["dependencies"] if d.startswith("numba")]
    specifier = Requirement(wanted[0]).specifier
    assert re.search(r"<0\.\d+", str(specifier))
    assert numba.__version__ in specifier
