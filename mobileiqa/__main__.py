"""`python -m mobileiqa`."""

import sys

from mobileiqa.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m mobileiqa"))
