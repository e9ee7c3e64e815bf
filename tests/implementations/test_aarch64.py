"""The kernels for a processor that is not here: compiled by LLVM for AArch64, and read.

Not run on one. What is seen is that LLVM can compile what Numba makes of them where the machine is
no x86-64, and that the loops are of vector instructions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_COMPILE = """
import json, platform, re
platform.machine = lambda: "aarch64"
import numpy as np
from llvmlite import binding
from numba.core.ccallback import CFunc
from implementations._numba import softmax
from implementations._simd import compilation, launch
assert compilation.PATH == "generic" and compilation.VECTOR_BYTES == 16 and compilation.HAS_FMA
binding.initialize_all_targets()
binding.initialize_all_asmprinters()
triple = "aarch64-unknown-linux-gnu"
machine = binding.Target.from_triple(triple).create_target_machine(features="+neon", opt=2)
options = binding.create_pipeline_tuning_options(speed_level=3)
signature = launch._SIGNATURE.args, launch._SIGNATURE.return_type
found = {}
for name, way, dtype in KERNELS:
    made = CFunc(softmax._kernel(name, way, dtype(0)), signature, {}, {"error_model": "numpy"})
    made.compile()
    code = re.sub(r'target triple = ".*"', f'target triple = "{triple}"', made.inspect_llvm())
    module = binding.parse_assembly(re.sub(r'target datalayout = ".*"', "", code))
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    assembly = machine.emit_assembly(module)
    found[f"{name} {way} {dtype.__name__}"] = {
        "vectors": len(re.findall(r"fml[as]\\s+v\\d+\\.[24][sd]", assembly)),
        "numbers": len(re.findall(r"\\bfn?m(?:add|sub)\\b", assembly)),
        "calls": sorted(set(re.findall(r"\\bbl\\s+(fmaf?)\\b", assembly))),
    }
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "kernels",
    [
        "('softmax', w, np.float32) for w in range(4)",
        "(n, 1, np.float64) for n in ('scaled', 'masked')",
    ],
    ids=["float32", "changed float64"],
)
def test_kernels_compile_for_aarch64_to_vector_instructions(kernels: str) -> None:
    environment = {**os.environ, "NUMBA_OPT": "0"}  # LLVM is to optimise for that processor alone
    environment.pop("SOFTMAX_BENCH_SIMD", None)
    code = _COMPILE.replace("KERNELS", f"[{kernels}]")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, counts in json.loads(done.stdout).items():
        assert counts["vectors"] > 50, (name, counts)
        assert counts["numbers"] < counts["vectors"] / 10, (name, counts)
        assert counts["calls"] == [], (name, counts)
