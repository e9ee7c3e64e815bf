"""The claims, as data: who printed what. Formulas and numbers are quoted, sentences paraphrased."""

from __future__ import annotations

from harness.experiments.claims.claim import Claim, Source

_TITLE_000 = "从零开始大模型开发与微调：Softmax激活函数"
S0 = Source("000_5248ab3cd4f2d9b8", _TITLE_000)
S1 = Source("001_ceebec9fee4e0c43", _TITLE_000 + " (April 2023)")
S2 = Source(
    "002_f68b39a96969c6d5",
    "From Scratch: Large Model Development and Fine-tuning: Python Code Mini-Practice: "
    "Computing the Softmax Function",
)
S3 = Source("003_23f25a988a4c8844", "Softmax瓶颈的影响")
S4 = Source("004_1cdfb0f1c03a205b", "AI 系列: 激活函数 & Softmax 函数 (ningg.top, 2025-04-12)")

CLAIMS: tuple[Claim, ...] = (
    Claim("A1", S0, "numbers", "softmax([2,3,1]) ≈ [0.1353, 0.7942, 0.0705]"),
    Claim(
        "A2",
        S0,
        "statement",
        "softmax may be unstable for negative inputs",
        "the function: does a row of negative logits have another softmax than the same row "
        "shifted to be positive?",
    ),
    Claim("A3", S0, "statement", "large differences between logits make the gradient small"),
    Claim("B1", S1, "numbers", "softmax([2,1,0.5]) = [0.6197, 0.2722, 0.1081]"),
    Claim(
        "B2",
        S1,
        "statement",
        "outputs within [0,1] make softmax numerically stable",
        "stable: the formula as written gives a finite, accurate result wherever one exists",
    ),
    Claim("B3", S1, "statement", "the output grows with its input, with diminishing increments"),
    Claim(
        "B4",
        S1,
        "statement",
        "parallel hardware, vectorised and sparse computation speed softmax up",
        "sparse: a tenth of the entries is stored, or less",
    ),
    Claim(
        "C1",
        S2,
        "numbers",
        "softmax([2,1,0.1]) = [0.7652, 0.2393, 0.0055]; "
        "printed run output [0.76519587, 0.2393248, 0.00549114]",
    ),
    Claim(
        "C2",
        S2,
        "statement",
        "np.exp(x) / np.sum(np.exp(x)) computes softmax",
        "for vectors and for batches of rows, wherever the softmax exists",
    ),
    Claim(
        "C3",
        S2,
        "statement",
        "a numerically stable algorithm, vectorisation and data layout improve it",
        "layout: whether the choice of one can improve the time",
    ),
    Claim("D1", S3, "statement", "∂σᵢ/∂zᵢ = σᵢ(1−σᵢ) tends to infinity away from 0 and 1"),
    Claim("D2", S3, "formula", "∂σᵢ/∂zⱼ = σᵢ(1−σᵢ)δᵢⱼ"),
    Claim("D3", S3, "statement", "the cost grows exponentially with the number of classes"),
    Claim("D4", S3, "statement", "gradients vanish when outputs are near 0 or 1"),
    Claim(
        "D5",
        S3,
        "statement",
        "clipping gradients elementwise to [−C, C] prevents explosion",
        "explosion: a network that training leaves unable to do what it could do before",
    ),
    Claim(
        "D6",
        S3,
        "formula",
        "exp(x − max) / sum, over axis 1",
        "computes softmax: every element within the error bound of the algorithm",
    ),
    Claim(
        "D7",
        S3,
        "statement",
        "a three-layer network with softmax output and cross-entropy reaches the high nineties "
        "(per cent) on digit images in 10 epochs",
        "high nineties: 95% of images held out; digits of 8 × 8 pixels that ship with a package",
    ),
    Claim("E1", S4, "numbers", "softmax([2,1,0.1]) ≈ [0.65, 0.24, 0.11]; hardmax [1,0,0]"),
    Claim("E2", S4, "formula", "the gradient of cross-entropy with respect to the logits is p − y"),
    Claim(
        "E3",
        S4,
        "formula",
        "∂pₖ/∂zᵢ = pᵢ(1−pᵢ) for k = i, −pₖpᵢ otherwise",
        "a table of the article prints the second entry without its sign",
    ),
    Claim(
        "E4",
        Source("000–004", "all five"),
        "formula",
        "σ(x) = 1/(1+e⁻ˣ); tanh(x) = 2σ(2x) − 1; ReLU(x) = max(0, x); "
        "softmax([x,0]) = [σ(x), σ(−x)]",
    ),
)
