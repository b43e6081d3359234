"""`python -m android_bench`."""

import sys

from android_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
