"""The words of the method page: how it was measured, what the terms mean, what they do not say."""

from __future__ import annotations

from dataclasses import dataclass

LEADS = {
    "accuracy": (
        "Errors against the certified reference: the exact softmax of the rounded input, before "
        "it is rounded to any format. One ulp is the spacing of the result's format at the exact "
        "value."
    ),
    "overflow": (
        "Where results stop being right as the logits grow, found to the last bit, and what comes "
        "out when an offset is added that the exact softmax hardly notices."
    ),
    "throughput": (
        "Times of one call, interleaved with those of all others in seeded random rounds on the "
        "same machine, beside the measured speed of copying the same bytes."
    ),
    "conformance": (
        "A catalogue of special values, magnitudes, lengths, layouts, formats, invariants and "
        "gradients, tried on every implementation. Failures come first. Another convention than "
        "the one used here is shown as a finding, with what came out; it is no failure."
    ),
    "claims": (
        "Statements about softmax as they were published, each examined anew from first "
        "principles. A verdict is about the sentence or the numbers quoted, read as they stand, "
        "and not about the work they come from; what decided it is shown, so that anybody can "
        "check it, and corrections are welcome."
    ),
}

TERMS: tuple[tuple[str, str], ...] = (
    ("class count, n", "Length of the softmax axis. Rows are the product of the other axes."),
    (
        "ulp",
        "Unit in the last place at the exact result y: 2^(max(⌊log₂|y|⌋, emin) − p + 1), with "
        "precision p and least exponent emin of the result's format. It is flat in the subnormal "
        "range (Muller, INRIA RR-5504, 2005). A correctly rounded result is at most 0.5 ulp off.",
    ),
    ("u", "Unit roundoff 2^−p: 1 ulp is between u and 2u relative to the result."),
    (
        "correctly rounded",
        "Equal to the exact result rounded once, to nearest, ties to even.",
    ),
    (
        "error ÷ bound",
        "Largest quotient, element by element, of the error and its a-priori bound. Above 1 "
        "either the code or the bound is wrong, and the cell fails.",
    ),
    (
        "E of exp",
        "Largest error of the exponential that the implementation uses, in u, as measured on this "
        "machine; it enters the bound.",
    ),
    ("Δ", "Distance of a logit from the largest of its row: Δⱼ = max x − xⱼ."),
    ("bias", "Mean of the signed error in ulps."),
    (
        "normwise error",
        "Largest absolute error of a row divided by the largest exact probability of the row.",
    ),
    (
        "sum residual",
        "|Σ result − 1|, summed exactly. It does not see errors of exp, which stand in numerator "
        "and denominator alike; it shows sums that stalled.",
    ),
    (
        "KL, total variation",
        "Divergence and distance of the computed from the exact distribution, the largest over "
        "the rows, evaluated in higher precision.",
    ),
    (
        "flushed",
        "Elements that came out as zero although the correctly rounded result is not zero.",
    ),
    (
        "wrong order",
        "Neighbours in the order of the logits where the larger logit has the smaller probability.",
    ),
    (
        "threshold",
        "The last number t of the format for which the row [t, 0] or [t, t] is still right.",
    ),
    (
        "regime",
        "Latency: one row. Cached: the arrays fit in a cache. Streaming: the bytes are held "
        "constant over the class counts and lie beyond the last-level cache where the label says "
        "so.",
    ),
    (
        "GB/s",
        "10⁹ bytes per second, counting one read and one write of the array whatever the "
        "implementation does: algorithms that pass over memory more often show less.",
    ),
    (
        "copy limit",
        "The measured bandwidth of copying the same bytes on the same threads in the same rounds, "
        "with regular stores, which first read the line that they overwrite, and with "
        "non-temporal stores, which do not.",
    ),
    (
        "control",
        "The baseline, and a copy, under a second name. Where the interval of its ratio to itself "
        "does not hold 1.0, differences of that size mean nothing, and the point is marked noisy; "
        "so it is where the copies lost a processor to other programs in most of their samples.",
    ),
    (
        "cold caches",
        "Before each call every core writes through a buffer larger than its caches, so that the "
        "call finds its arrays in none of them.",
    ),
    (
        "peak memory",
        "Highest resident memory during one call beyond its input and output, by the kernel's "
        "high-water mark; good to half a MiB.",
    ),
    (
        "accuracy gate",
        "Sampled rows of the timed workload are checked against the reference. A timing that fails "
        "is kept, struck out, and never ranked.",
    ),
)

MEASUREMENTS: tuple[tuple[str, str], ...] = (
    (
        "Reference",
        "Every result is compared with the exact softmax of the input as rounded to its own "
        "format. Arithmetic with pairs of doubles and a proven error bound settles most elements; "
        "where the bound leaves two candidates for the rounding, ball arithmetic encloses the "
        "result, and its precision is raised until both ends of the enclosure round to the same "
        "number (Ziv’s loop). Constant rows are exactly 1/n and handled apart. A second engine, "
        "mpmath, checks the first in the tests. The value kept carries about 100 bits, so that "
        "errors well below half an ulp are resolved.",
    ),
    (
        "Accuracy",
        "Seeded workloads, generated in the format under test, over class counts. The bound of "
        "each algorithm is evaluated element by element with the measured error of its "
        "exponential, and includes underflow.",
    ),
    (
        "Overflow",
        "Bisection over the ordered numbers of a format, to neighbours: the last good and the "
        "first bad t. The map adds offsets to normal logits and classes every outcome.",
    ),
    (
        "Throughput",
        "One worker process an implementation; the rounds of all are interleaved in seeded random "
        "order, so that a drift of the machine meets all alike. The first call is timed apart; the "
        "warm-up ends when three batches brought no gain of 2%. The number of calls in a sample is "
        "calibrated to at least a millisecond. At a random round the input is overwritten in place "
        "with content that nobody could know, and what comes out is judged: remembered, deferred "
        "or skipped work fails. The figure is the median of the rounds, the "
        "interval a 95% bootstrap interval of it; the ratio to the baseline is taken round by "
        "round. The same code in another process is a percent or more faster or slower; where "
        "several processes shared the rounds (run --processes), each is one value, and intervals "
        "are Student's over those.",
    ),
    (
        "Statuses",
        "ok; failed (a result beyond its bound, or wrong); unsupported (does not offer the "
        "operation or the format); unavailable (a dependency or device is missing); error, "
        "crashed, timeout, out of memory (what it died of); skipped (with the reason). A cell "
        "that gave no figure is a record with a reason, never a gap.",
    ),
)

LIMITATIONS: tuple[str, ...] = (
    "A largest error is the largest over the inputs that were tried: a lower bound of the true "
    "maximum, unless it is said to be exhaustive.",
    "Thresholds are found by bisection, which assumes that an event, once it happens, goes on "
    "happening as t grows.",
    "The worst over all workloads includes inputs chosen to be hard. The table by workload shows "
    "which; an application may never meet them.",
    "Timings hold for this machine, these versions and these sizes. Timings of different runs and "
    "machines are never drawn in one plot.",
    "An implementation that rewrites the harness inside its own process can fake its times; what "
    "the coordinator can see from outside is checked.",
    "Bandwidth at one class count does not order the implementations at another: the curves do.",
    "Intervals describe the spread of the rounds of this run (or of its processes, where there "
    "were several), not the difference between boots, days or compilers.",
    "A result within its bound can still be less accurate than another; the bound is what the "
    "algorithm guarantees, not what is attainable.",
    "GPU implementations without a device here were compiled at best, never run: nothing is "
    "claimed of their results or speed.",
)


@dataclass(frozen=True)
class BoundText:
    """A bound in words."""

    name: str
    algorithm: str
    formula: str
    source: str
    published: bool


def bounds() -> list[BoundText]:
    """The bounds that this version of the harness evaluates; empty where it has none."""
    try:
        from harness.bounds import BOUNDS
    except ImportError:
        return []
    return [
        BoundText(
            str(name),
            str(getattr(b, "algorithm", "")),
            str(getattr(b, "formula", "")),
            str(getattr(b, "source", "")),
            bool(getattr(b, "published", False)),
        )
        for name, b in BOUNDS.items()
    ]


def bound_text(name: str | None) -> BoundText | None:
    """The bound of that name, if this version knows it."""
    return next((b for b in bounds() if b.name == name), None) if name else None
