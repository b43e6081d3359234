"""Coverage as text: a bar for every bin."""

from calibration.strata import Coverage

_WIDTH = 40


def coverage_lines(selection: Coverage, candidates: Coverage) -> list[str]:
    """A block per property: bin, images, of how many candidates, bar. Bins without any image are shown, too."""
    lines = []
    for name in candidates or selection:
        counts = selection.get(name, {})
        bins = {**dict.fromkeys(candidates.get(name, {}), 0), **counts}
        most = max(bins.values(), default=0) or 1
        lines.append(f"{name:<24} images  candidates")
        for bin_name, count in bins.items():
            total = candidates.get(name, {}).get(bin_name, "-")
            lines.append(
                f"  {bin_name:<22} {count:>6}  {total:>10}  {'#' * round(_WIDTH * count / most)}".rstrip()
            )
    return lines
