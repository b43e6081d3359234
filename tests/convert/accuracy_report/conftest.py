"""The small network of INT8's tests: what an accuracy report is about."""

from tests.convert.int8.conftest import images, score, small

__all__ = ["images", "score", "small"]
