"""The papers, as data: what each says and where. Figures are the papers', the words are ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UserError
from harness.experiments.claims.claim import Claim, Source


@dataclass(frozen=True)
class Paper:
    """A paper that can be reproduced.

    Attributes:
        source: its `id` is the name that the command takes.
        about: what is made again, a line.
        claims: what is examined, in the order of the page.
        implementations: what takes part, the baseline of its times first.
    """

    source: Source
    about: str
    claims: tuple[Claim, ...]
    implementations: tuple[str, ...]


_BHH = Source(
    "blanchard-higham-higham-2021",
    "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax "
    "functions, IMA J. Numer. Anal. 41 (2021) 2311–2330, doi:10.1093/imanum/draa038",
    "MATLAB R2020a; fp16 and bfloat16 simulated by rounding after every operation, errors against "
    "single precision; 2500 vectors of 10 logits of a network trained on MNIST",
)
_MG = Source(
    "milakov-gimelshein-2018",
    "M. Milakov, N. Gimelshein, Online normalizer calculation for softmax, 2018, arXiv:1805.02867",
    "one GPU, an NVIDIA Tesla V100 PCIe 16 GB, CUDA 9.1, float32, 4000 and 10 vectors",
)
_DA = Source(
    "dukhan-ablavatski-2020",
    "M. Dukhan, A. Ablavatski, The two-pass softmax algorithm, IPDPS workshops 2020, "
    "arXiv:2001.04438",
    "processors of 2017 to 2019: Intel Skylake-X (AVX512 and AVX2), Intel Broadwell, AMD Zen 2",
)

THEOREMS: Mapping[str, tuple[str, str]] = {
    "3.2": ("abs(ŷ − y) / abs(y) ≤ (1 + (n+1)/abs(y))u + O(u²)", "log-sum-exp, unshifted"),
    "3.3": ("‖ĝ − g‖ / ‖g‖ ≤ (n+3)u + O(u²)", "exp(x) / sum, unshifted"),
    "3.4": (
        "‖ĝ − g‖ / ‖g‖ ≤ (abs(y) + max abs(x_j − y) + n + 2)u + O(u²)",
        "exp(x − lse), unshifted",
    ),
    "4.2": ("abs(ŷ − y) / abs(y) ≤ abs((y + n − xmin)/y)u + O(u²)", "log-sum-exp, shifted"),
    "4.3": ("‖ĝ − g‖ / ‖g‖ ≤ (n + 2 + 2(xmax − xmin))u + O(u²)", "exp(x − max) / sum"),
    "4.4": (
        "‖ĝ − g‖ / ‖g‖ ≤ (1 + max abs(x_j − y) + abs(y + n − xmin))u + O(u²)",
        "exp(x − lse), shifted",
    ),
}
"""The paper's error bounds by number: what is printed, and of which formula; norms are maxima."""

_BOUND_NOTE = (
    "y is the log-sum-exp, ŷ and ĝ are computed; a row is beyond the bound c·u only if its error "
    "is above cu/(1 − cu), which leaves room for O(u²), and rows that overflow do not count"
)

BLANCHARD = Paper(
    _BHH,
    "float16 and bfloat16: overflow, shifted against unshifted, division against exp(x − lse); "
    "six theorems",
    (
        Claim(
            "BHH-range",
            _BHH,
            "numbers",
            "logarithms of the smallest subnormal, the smallest normal and the largest number of "
            "bfloat16, fp16, fp32 and fp64, to three significant figures",
            place="Table 2",
        ),
        Claim(
            "BHH-vectors",
            _BHH,
            "statement",
            "of 2500 vectors 475 overflow in fp16 without a shift, none with one, and none in "
            "bfloat16; errors of the two log-sum-exp in fp16: identical for 1863 of the other 2025 "
            "(92%), ratio unshifted / shifted from 0.19 to 59, mean 1.07, standard error 0.03",
            "about the paper's own vectors, which --logits gives",
            "Section 5",
        ),
        Claim(
            "BHH-overflow",
            _BHH,
            "statement",
            "without a shift, logits of a trained network overflow in fp16; with one nothing does, "
            "and in bfloat16 nothing does",
            "about logits of digits: those of a classifier in this package",
            "Section 5",
        ),
        Claim(
            "BHH-shift",
            _BHH,
            "statement",
            "the shifted formulas are of similar accuracy to the unshifted ones",
            "similar: mean errors over the rows that do not overflow within a factor of two",
            "abstract, Section 5",
        ),
        Claim(
            "BHH-division",
            _BHH,
            "statement",
            "exp(x − lse) is mostly less accurate than the quotient, and its sums are farther "
            "from 1",
            "mostly: a larger error in more rows than a smaller one",
            "abstract, Section 5, Figures 2 to 4",
        ),
        *(
            Claim(
                f"BHH-{number}", _BHH, "formula", f"{printed}, for {what}", _BOUND_NOTE,
                f"Theorem {number}",
            )
            for number, (printed, what) in THEOREMS.items()
        ),
    ),
    ("log_sum_exp",),
)  # fmt: skip

MILAKOV = Paper(
    _MG,
    "online against safe softmax: accesses to memory, and time by class count on this processor",
    (
        Claim(
            "MG-accesses",
            _MG,
            "numbers",
            "safe softmax accesses memory 4 times per element, online softmax 3 times: 1.33 times "
            "fewer",
            place="Sections 2, 3 and 6",
        ),
        Claim(
            "MG-gpu",
            _MG,
            "statement",
            "on a Tesla V100 online is about 1.15 times as fast as safe softmax from 1000 classes "
            "on, and up to 1.3 times from 4000 on with 4000 vectors; alike below 1000",
            place="Sections 5.1 and 6, Figures 1 and 2",
        ),
        Claim(
            "MG-cpu",
            _MG,
            "statement",
            "on a CPU, not tried there, similar speed-ups could probably be expected where the "
            "code stays vectorised",
            "similar: at least 1.15 times, from 1000 classes on; once as printed, rescaling at "
            "every block, and once only where the maximum has grown",
            "Section 7",
        ),
    ),
    ("three_pass_numba", "online_numba", "online_lazy_numba"),
)

DUKHAN = Paper(
    _DA,
    "two passes against three, which compute exponentials again or load them, by array size",
    (
        Claim(
            "DA-accesses",
            _DA,
            "numbers",
            "of N elements two passes access memory 3N times, three passes that compute "
            "exponentials again 4N, three that load them 5N",
            "as others report its model; of the paper itself only the abstract was at hand",
            "its model of memory accesses",
        ),
        Claim(
            "DA-skylake",
            _DA,
            "statement",
            "out of cache on Skylake-X, two passes outperform three by up to 28% with AVX512, and "
            "by up to 18% with AVX2",
            place="abstract",
        ),
        Claim(
            "DA-elsewhere",
            _DA,
            "statement",
            "out of cache, two passes outperform three on other processors, too",
            "said of Broadwell and Zen 2; examined here on this processor, against both kinds of "
            "three passes",
            "abstract",
        ),
        Claim(
            "DA-bandwidth",
            _DA,
            "statement",
            "all of the three passes are limited by the bandwidth of memory",
            "limited: what they access, over their time, is at least 80% of what a copy of the "
            "same arrays moves beside them",
            "abstract",
        ),
    ),
    ("three_pass_numba", "three_pass_reload_numba", "two_pass_numba"),
)

PAPERS: Mapping[str, Paper] = {p.source.id: p for p in (BLANCHARD, MILAKOV, DUKHAN)}


def paper_named(name: str) -> Paper:
    """The paper whose name begins so.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [p for n, p in PAPERS.items() if n.startswith(name)] if name else []
    if len(found) != 1:
        raise UserError(
            f"paper: expected {', '.join(PAPERS)}, or the unambiguous beginning of one; "
            f"got {name!r}"
        )
    return found[0]
