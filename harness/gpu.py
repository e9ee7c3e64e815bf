"""``python -m harness.gpu``."""

import sys

from harness.cli.exits import exit_code, forgiving_streams
from harness.cli.gpu import main

if __name__ == "__main__":
    forgiving_streams()
    sys.exit(exit_code(main(), "harness.gpu"))
