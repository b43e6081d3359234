"""The earlier name of `python -m convert.package`."""

from convert.package import main
from mobileiqa import cli

if __name__ == "__main__":
    cli.older("python -m convert.delivery", "python -m convert.package")
    raise SystemExit(main())
