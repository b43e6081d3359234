"""Bins and the choice: what is rare is chosen first, nothing depends on order, seeds nest."""

from collections import Counter
from dataclasses import replace

import pytest

from calibration import stratified_sampling as sampling
from calibration.photos import Photo
from mobileiqa.errors import UserError

PLAIN = Photo("x", "a", "b", 1000, 1000, 0.4, 0, 0, False, "")


def photos(*kinds: tuple[int, dict]) -> list[Photo]:
    """`n` photos of each kind, named by kind and number."""
    return sampling.assign(
        [replace(PLAIN, id=f"{k}-{i:03d}", **fields) for k, (n, fields) in enumerate(kinds) for i in range(n)]
    )


def kinds_of(selection: list[Photo]) -> Counter:
    return Counter(photo.id.split("-")[0] for photo in selection)


def test_every_bin_has_its_edges():
    results = [sampling.bin_of(v, sampling.LUMINANCE) for v in (0, 0.1999, 0.2, 0.35, 0.5, 0.7, 1)]
    assert results == ["dark", "dark", "dim", "middle", "light", "bright", "bright"]
    results = [sampling.bin_of(v, sampling.RESOLUTION) for v in (0.49, 0.5, 2, 8, 200)]
    assert results == ["<0.5 MP", "0.5-2 MP", "2-8 MP", ">=8 MP", ">=8 MP"]


def test_score_bins_span_the_scores_and_equal_scores_are_one_bin():
    bins = sampling.score_bins([10, 60, 30])
    assert [name for _, name in bins] == ["10..20", "20..30", "30..40", "40..50", "50..60"]
    assert [sampling.bin_of(v, bins) for v in (10, 20, 59.9, 60)] == ["10..20", "20..30", "50..60", "50..60"]
    assert sampling.bin_of(3, sampling.score_bins([3, 3])) == "3"


def test_score_and_distortion_take_part_where_they_are_known():
    assert [name for name, _ in photos((1, {}))[0].stratum] == ["resolution", "luminance"]
    mixed = photos((1, {"score": 0.5, "distortion": "JPEG"}), (1, {}))
    assert dict(mixed[0].stratum) == {
        "resolution": "0.5-2 MP", "luminance": "middle", "score": "0.5", "distortion": "JPEG",
    }  # fmt: skip
    assert dict(mixed[1].stratum)["score"] == dict(mixed[1].stratum)["distortion"] == sampling.UNKNOWN


def test_small_strata_are_not_drowned():
    pool = photos((500, {}), (3, {"luminance": 0.1}), (40, {"luminance": 0.9}))
    assert kinds_of(sampling.choose(pool, 9, 0)) == {"0": 3, "1": 3, "2": 3}
    result = kinds_of(sampling.choose(pool, 30, 0))
    assert result["1"] == 3 and sorted(result.values()) == [3, 13, 14]


def test_with_more_strata_than_images_every_bin_is_still_covered():
    """100 strata, 14 bins, the darkest and the largest each in one stratum only."""
    levels = (0.3, 0.4, 0.6, 0.9)
    pool = photos(
        *((5, {"luminance": v, "distortion": f"d{d}"}) for v in levels for d in range(7)),
        (1, {"luminance": 0.1, "distortion": "d0"}),
        (1, {"width_px": 5000, "height_px": 4000, "luminance": 0.4, "distortion": "d1"}),
    )
    for seed in range(10):
        selection = sampling.choose(pool, 12, seed)
        result = sampling.coverage(selection)
        assert {name: len(bins) for name, bins in result.items()} == {
            "resolution": 2, "luminance": 5, "distortion": 7,
        }  # fmt: skip


def test_the_choice_depends_on_ids_and_seed_alone_and_seeds_nest():
    pool = photos((60, {}), (20, {"luminance": 0.1}), (20, {"luminance": 0.9}))
    selection = sampling.choose(pool, 32, 5)
    assert selection == sampling.choose(pool[::-1], 32, 5)
    assert selection == sampling.choose(pool, 64, 5)[:32]
    assert {p.id for p in selection} != {p.id for p in sampling.choose(pool, 32, 6)}
    assert len({p.id for p in sampling.choose(pool, 100, 5)}) == 100


def test_references_take_turns_inside_a_stratum():
    pool = photos((30, {"reference": "r0"}), (3, {"reference": "r1"}), (3, {}))
    assert kinds_of(sampling.choose(pool, 7, 0)) == {"0": 2, "1": 2, "2": 3}


def test_too_few_photos_are_refused():
    with pytest.raises(UserError, match="expected 4 images to choose; found 3"):
        sampling.choose(photos((3, {})), 4, 0)


def test_coverage_counts_bins_in_the_order_of_their_tables():
    pool = photos((2, {"luminance": 0.9, "score": 9}), (1, {"luminance": 0.1, "score": 11}))
    assert sampling.coverage(pool) == {
        "resolution": {"0.5-2 MP": 3},
        "luminance": {"dark": 1, "bright": 2},
        "score": {"9..9.4": 2, "10.6..11": 1},
    }
    assert list(sampling.coverage(pool)["score"]) == ["9..9.4", "10.6..11"]
    assert list(sampling.coverage(pool)["luminance"]) == ["dark", "bright"]
