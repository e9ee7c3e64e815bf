"""The README.md of a folder of reference vectors: its format on a page, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.experiments.vectors.vector import WIDE

FORMAT = f"""\
## Format

`*.bin` hold arrays and nothing else: little-endian, row after row, each at a multiple of 64 bytes.
What is where stands in `index.txt`, a line of titles and a line for each array, and once more in
`index.json`, an object for each vector, with the version, commit and command that wrote it all.

| column of index.txt | what |
| --- | --- |
| file | the file that holds the array |
| operation, dtype | what is computed, and in which format |
| vector | its name: a group, a colon, and the length of a row (or a number, of single calls) |
| array | name of the array; the lines of a vector follow one another, its inputs first |
| type | float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, int64 or uint8 |
| rows, columns | its shape |
| offset | its first byte in the file |

Row i of the results belongs to row i of the inputs. What is one number a row has one column.

| operation | inputs | results |
| --- | --- | --- |
| softmax, log_softmax | x | result |
| logsumexp | x | result, one number a row |
| softmax_backward | grad, y | result = y (grad − Σ grad y), for y as given |
| cross_entropy | logits; targets, classes from 0 | loss; gradient = softmax − onehot(target) |
| scaled_softmax | x; scale | result = softmax of scale · x |
| masked_softmax | x; mask, 1 keeps | result = softmax of what is kept, 0 elsewhere |
| softmax_with_sink | x; sink | result = exp(x) / (exp(sink) + Σ exp(x)) |
| softcap_softmax | x; cap | result = softmax of cap · tanh(x / cap) |
| merge_logsumexp | m1, s1, m2, s2 | m = max(m1, m2); s = s1 exp(m1 − m) + s2 exp(m2 − m) |
| linear_cross_entropy | hidden, weight, targets, of one call | loss a row of hidden · weightᵀ; \
in_hidden, in_weight, the gradients of their sum |
| ragged_softmax | values, offsets, of one call | result: softmax of each \
values[offsets[i]:offsets[i + 1]] |

Every result is the mathematical one of exactly these inputs, rounded once, to nearest even, to the
format; what is beyond its largest number is an infinity (in float8_e4m3fn, which has none, NaN).
Beside `result` (and `loss`, `gradient`, ...) stands

- in formats narrower than float64 `result_float64`, the same rounded once to float64: the error of
  yours in ulps is abs(yours − result_float64) / ulp, ulp the spacing of the format there;
- in float64 `result_rest`, what that rounding left: the error of yours is
  (yours − result) − result_rest. It is 0 where it underflows, and where nothing is finite.

Rows of {WIDE:,} classes and more have neither, for their size.

Where mathematics has no answer, NaN is asked for: a row with NaN, with +inf, or of nothing but −inf
is NaN, and so is one of which the mask keeps nothing (zeros are as good there, and at what a mask
drops beside a NaN). −inf beside finite logits has softmax 0 and log-softmax −inf. Log-sum-exp of
nothing but −inf is −inf, with +inf it is +inf. To softcap_softmax ±inf are ±cap. To merge_logsumexp
m = −inf, s = 0 is an empty part; with a NaN or m = +inf, s is NaN. Which NaN does not matter.
"""

_TEXT = """\
# Reference vectors of softmax

Inputs of softmax and its relatives with their correctly rounded results: {vectors:,} vectors of
{rows:,} rows. Written by softmax-bench {version}, commit {commit}:

    {command}

Check the files with `sha256sum -c SHA256SUMS`. Licence: BSD-3-Clause, in `LICENSE`.

{format}
## Contents

Vectors, and their rows:

{table}

{left_out}Groups:

| group | what |
| --- | --- |
{groups}
"""


def table(vectors: Mapping[tuple[str, str], int], rows: Mapping[tuple[str, str], int]) -> list[str]:
    """A line for each operation, a column for each format: how many vectors and rows there are."""
    operations = list(dict.fromkeys(o for o, _ in vectors))
    dtypes = list(dict.fromkeys(d for _, d in vectors))
    lines = [f"| operation | {' | '.join(dtypes)} |", "| --- |" + " ---: |" * len(dtypes)]
    for o in operations:
        counts = [(vectors.get((o, d), 0), rows.get((o, d), 0)) for d in dtypes]
        lines.append(f"| {o} | {' | '.join(f'{v:,} ({r:,})' if v else '–' for v, r in counts)} |")
    return lines


def readme(
    vectors: Mapping[tuple[str, str], int], rows: Mapping[tuple[str, str], int],
    made_by: Mapping[str, Any],
) -> str:  # fmt: skip
    """The text.

    Args:
        vectors, rows: their numbers by operation and format.
        made_by: what index.json says of the whole.
    """
    commit = made_by["commit"] or "unknown"
    groups: dict[str, list[str]] = {}
    for name, what in made_by["groups"].items():
        groups.setdefault(what, []).append(name)
    left = [f"| {' | '.join(one.values())} |" for one in made_by["left_out"]]
    rule = "| --- | --- | --- | --- |"
    told = ["Left out, as not certified:\n", "| operation | dtype | vector | reason |", rule, *left]
    return _TEXT.format(
        vectors=sum(vectors.values()),
        rows=sum(rows.values()),
        version=made_by["version"],
        commit=commit + (" with changes" if made_by["changed"] else ""),
        command=made_by["command"],
        format=FORMAT,
        table="\n".join(table(vectors, rows)),
        left_out="\n".join(told) + "\n\n" if left else "",
        groups="\n".join(f"| {', '.join(names)} | {what} |" for what, names in groups.items()),
    )
