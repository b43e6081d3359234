"""Medians and the table; the conversions themselves are measured, not tested."""

from benchmarks import conversion_time


def test_the_median_run_gives_the_stages_and_each_checkout_a_line():
    runs = [
        {
            "cpu_seconds": cpu,
            "peak_mb": peak,
            "load": 1.0,
            "stages": [{"stage": f"export {cpu}", "cpu_seconds": cpu}],
        }
        for cpu, peak in ((30.0, 900), (10.0, 700), (20.0, 800))
    ]
    median = conversion_time.median_of(runs)
    assert (median["runs"], median["cpu_seconds"], median["peak_mb"]) == (3, 20.0, 800)
    lines = conversion_time.table(
        {"a, FP16": {"this": median, "before": conversion_time.median_of(runs[:1])}}
    )
    assert [line.split()[2] for line in lines[1:3]] == ["this", "before"]
    assert lines[3] == "a, FP16: export 20.0 20.0"
