"""The earlier name of `python -m convert.package`."""

from convert.package import main

if __name__ == "__main__":
    raise SystemExit(main())
