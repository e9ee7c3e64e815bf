"""The gradient of the cross entropy is 0 where the target is likely but not certain.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: inaccurate
Input: logits float32 [[17, 0]], label 0; gradient[0, 0] of
    sparse_softmax_cross_entropy_with_logits
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -exp(-17)/(1 +
    exp(-17))
Got: 0x0.0p+0 (0)
Because: the gradient is p - 1, the other classes' probability with a minus, and
    sums to 0 over the classes. p rounds to 1 before the 1 is subtracted
Documentation: says nothing of it
Upstream: reported: https://github.com/tensorflow/tensorflow/issues/126636
    (open)
"""

import tensorflow as tf

x = tf.constant([[17.0, 0.0]])
with tf.GradientTape() as tape:
    tape.watch(x)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0], x)
got = float(tape.gradient(loss, x)[0, 0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
