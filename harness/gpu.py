"""``python -m harness.gpu``."""

import sys

from harness.cli.gpu import main
from harness.text import exit_code, forgiving_streams

if __name__ == "__main__":
    forgiving_streams()
    sys.exit(exit_code(main(), "harness.gpu"))
