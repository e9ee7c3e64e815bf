"""``python -m harness`` and the ``softmax-bench`` command."""

from harness.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
