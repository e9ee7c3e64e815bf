"""How functions are compiled that only compiled ones call: no further than they are asked for.

A kernel is a hundred small functions. Numba optimises each of them, writes its machine code and a
wrapper for Python, and then does all that again where it is called, with what it calls inside. Here
each stops at LLVM's code, which its callers link and optimise.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import _dynfunc
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

FRAME = 64
"""Bytes: the largest vector."""


def _never_called(library: Any, fndesc: Any, env: Any) -> Any:
    """What stands for a function in its dispatcher; Numba's own would have no wrapper either."""
    return _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (library,))


def _end_unwritten(library: Any) -> None:
    """The end of a library of which no machine code is written.

    Where it is, callers that are compiled in this process find it by name before the copy that was
    optimised with them, and are slow until another process loads them from the cache.
    """
    library._finalize_dynamic_globals()
    library._finalized = True


def _declared(context: Any, module: Any, fndesc: Any) -> Any:
    """As Numba declares a function, and with a frame that begins at a multiple of `FRAME`.

    LLVM keeps the vectors for which there is no register in the frame, by itself at multiples of
    16 bytes. One that lies across the end of a page takes many times as long to write and to read
    again, in every turn of a loop: in one process of ten, by where its stack was, a kernel took
    35 ms instead of 7.
    """
    function = type(context).declare_function(context, module, fndesc)
    function.attributes.alignstack = FRAME
    function.attributes.add("nounwind")  # llvmlite writes the other beside a named one alone
    return function


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringAlone(NativeLowering):  # type: ignore[misc]
    """To LLVM's code, which callers link, and no further."""

    _name = "lowering_without_machine_code"

    def run_pass(self, state: Any) -> bool:
        context = state.targetctx
        state.library = context.codegen().create_library(state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.library._optimize_final_module = lambda: None  # the caller's is optimised as a whole
        state.library._finalize_final_module = partial(_end_unwritten, state.library)
        context.get_executable = _never_called
        context.declare_function = partial(_declared, context)
        try:
            return bool(super().run_pass(state))
        finally:
            del context.get_executable, context.declare_function


class _WithoutMachineCode(CompilerBase):  # type: ignore[misc]
    """Numba's own pipeline but for its last step: nobody calls the machine code of one function.

    A fifth of the time that a kernel of a hundred functions takes to compile.
    """

    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.add_pass_after(_LoweringAlone, NativeLowering)
        manager.passes = [p for p in manager.passes if p[0] is not NativeLowering]
        manager.finalize()
        return [manager]


INTERNAL = {
    "pipeline_class": _WithoutMachineCode,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""Options of such a function. To call it from Python crashes."""
