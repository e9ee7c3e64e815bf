"""``python -m harness.gpu``."""

import sys

from harness.cli.gpu import main

if __name__ == "__main__":
    sys.exit(main())
