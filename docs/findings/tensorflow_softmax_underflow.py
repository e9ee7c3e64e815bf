"""tf.nn.softmax takes normal results for 0.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: inaccurate
Input: float32 [0x1.5a92d8p+6, 0]; result[1]
Expected: 0x1.ffff680000000p-126 (2.35098e-38), float32 of
    exp(-0x1.5a92d8p+6)/(1 + exp(-0x1.5a92d8p+6))
Got: 0x0.0p+0 (0)
Because: it is almost twice the smallest normal number, and tf.exp gives it.
    Results are 0 from 2**-125 down; with TF_ENABLE_ONEDNN_OPTS=0 only those
    below the normal range are
Documentation: the log message of oneDNN speaks of slightly different results by
    rounding
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import tensorflow as tf

got = float(tf.nn.softmax(np.float32([float.fromhex("0x1.5a92d8p+6"), 0]))[1])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
