"""Class counts by name: the lengths of the softmax axis that people really meet.

Each name with its number and where the number comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ClassCount:
    """A named class count and the source of its number."""

    name: str
    classes: int
    source: str


NAMED: tuple[ClassCount, ...] = (
    ClassCount("digits", 10, "ten decimal digits (scikit-learn's load_digits, MNIST)"),
    ClassCount("imagenet", 1000, "ILSVRC-2012 classification, Russakovsky et al. 2015"),
    ClassCount("llama-2", 32_000, "vocab_size of the Llama 2 model configuration"),
    ClassCount("gpt-2", 50_257, "n_vocab of GPT-2: 50,000 merges, 256 bytes, one end token"),
    ClassCount("llama-3", 128_256, "vocab_size of the Llama 3 model configuration"),
    ClassCount(
        "qwen-2.5",
        151_936,
        "vocab_size of the Qwen2.5 configurations up to 3B (padded; larger models pad further)",
    ),
    ClassCount("gemma", 256_000, "vocab_size of the Gemma model configuration"),
    ClassCount("amazon-670k", 670_091, "labels of Amazon-670K, Extreme Classification Repository"),
    ClassCount("million", 10**6, "a round number beyond the vocabularies of today"),
)

CLASS_COUNTS: Mapping[str, int] = MappingProxyType({c.name: c.classes for c in NAMED})


def parse_class_count(text: str) -> int:
    """A class count from its name (``"gpt-2"``) or its digits (``"50257"``, ``"50_257"``).

    Raises:
        ValueError: for an unknown name and for anything that is not a positive integer.
    """
    key = text.strip().lower()
    if key in CLASS_COUNTS:
        return CLASS_COUNTS[key]
    digits = key.replace("_", "")
    if digits.isascii() and digits.isdigit() and len(digits) <= 18 and int(digits) > 0:
        return int(digits)
    raise ValueError(
        f"class count: expected a positive integer or one of {', '.join(CLASS_COUNTS)}; "
        f"got {text!r}"
    )
