"""``python -m harness.gpu``."""

import sys

from harness.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())
