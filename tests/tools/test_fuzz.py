"""The fuzz harness is seen to find faults: three put back on purpose, and every way in which a process can end."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.fuzz import case, client, corpus, images, json_text, oracles, pictures
from tools.fuzz.__main__ import main
from tools.fuzz.case import Case, Expectation, Outcome, Step, generator
from tools.fuzz.client import Client
from tools.fuzz.flatbuffers import MARK, resealed

SCORE = Step("mobileiqa.score", ("a.png",))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of pictures alone."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "pictures").mkdir(parents=True)
    for name, content in pictures.pictures():
        (folder / "pictures" / name).write_bytes(content)
    (folder / corpus.SCORES).write_text('{"png_RGB.png": 0.5}')
    return folder


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Client]:
    worker = Client(tmp_path / "work", tmp_path, hang_s=20)
    yield worker
    worker.close()


def tried(**fields: object) -> Case:
    return Case("images", "seed", "one bit", {"a.png": b""}, "a.png", (SCORE,), **fields)


def rules(outcome: Outcome, **fields: object) -> list[str]:
    return [each.rule for each in oracles.violations(tried(**fields), outcome)]


def test_a_case_follows_from_seed_kind_and_index_alone(seeds):
    first, second = images.Images(seeds), images.Images(seeds)
    later = [second.case(generator(1, "images", index)) for index in (7, 3, 5)]
    assert [first.case(generator(1, "images", index)) for index in (7, 3, 5)] == later
    assert first.case(generator(2, "images", 7)) != later[0]


def test_every_common_format_is_a_seed(seeds):
    suffixes = {path.suffix for path in (seeds / "pictures").iterdir()}
    assert suffixes >= {
        ".png",
        ".jpg",
        ".tif",
        ".webp",
        ".gif",
        ".bmp",
        ".tga",
        ".ppm",
        ".jp2",
        ".mpo",
        ".ico",
    }


def test_a_kept_case_is_read_back(tmp_path):
    whole = Case("names", "o", "m", {"a/b.png": b"\0\xff"}, "a/b.png", (SCORE,), Expectation.SAME, 0.25)
    assert case.load(case.save(whole, tmp_path / "kept", seed=3)) == whole


def test_a_wrong_checksum_of_a_critical_chunk_is_known(seeds):
    content = (seeds / "pictures" / "png_RGB.png").read_bytes()
    at = content.index(b"IDAT") + 6
    broken = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    assert images.has_wrong_crc(broken) and not images.has_wrong_crc(content)
    harmless, _ = images.unread(content, generator(1, "images", 0))
    assert harmless != content and not images.has_wrong_crc(harmless)


def test_a_checksum_is_written_again():
    sealed = resealed(b"before" + MARK + bytes(32) + b"after")
    assert sealed[: 6 + len(MARK)] == b"before" + MARK and sealed.endswith(b"after")
    assert resealed(sealed) == sealed != resealed(sealed[:-1] + b"!")


def test_json_mutations_are_many():
    content = b'{"a": [1, {"b": "text"}], "c": null}'
    seen = {json_text.mutated_json(content, generator(1, "json", n))[0] for n in range(200)}
    assert len(seen) > 120 and content not in seen


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"exit_code": None, "ended": "signal 11"}, "answers"),
        ({"exit_code": None, "traceback": "Traceback...\nKeyError: 'x'"}, "answers"),
        ({"exit_code": 3, "stdout": "{}"}, "answers"),
        ({"exit_code": 2, "stderr": ""}, "stderr"),
        ({"exit_code": 2, "stderr": "p: expected a; found b; c\np: expected a; found b; c\nsomething\n"}, "stderr"),
        ({"exit_code": 0, "stdout": "{}", "stderr": "UserWarning: x\n"}, "stderr"),
        ({"exit_code": 0, "stdout": "\x1b[31m\n{}"}, "stdout"),
        ({"exit_code": 0, "stdout": "no JSON"}, "stdout"),
        ({"exit_code": 0, "stdout": '{"a":NaN}'}, "stdout"),
        ({"exit_code": 0, "stdout": "{}", "left": ["out/.a.csv.x1"]}, "files"),
        ({"exit_code": 0, "stdout": "{}", "left": ["tmp/x"]}, "files"),
        ({"exit_code": 0, "stdout": '{"results":[{"score":-415}],"score_range":[0,1]}'}, "score"),
    ],
)  # fmt: skip
def test_each_rule_fires(fields, rule):
    assert rule in rules(Outcome(SCORE, **fields))


def test_a_sound_outcome_breaks_no_rule():
    line = "python -m mobileiqa.score: no score for a.png: expected x in a.png; found y; z\n"
    assert (
        rules(Outcome(SCORE, 2, "{}", f"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n{line}"))
        == []
    )
    assert (
        rules(Outcome(SCORE, 0, '{"results":[{"score":0.5}]}'), expectation=Expectation.SAME, score=0.5) == []
    )


def test_what_is_known_about_a_case_is_asked_of_its_outcome():
    scored = Outcome(SCORE, 0, '{"results":[{"score":0.5}]}')
    assert rules(scored, expectation=Expectation.REFUSED) == ["refusal"]
    assert rules(scored, expectation=Expectation.SAME, score=0.501) == ["score"]
    assert rules(
        Outcome(SCORE, 2, "{}", "p: expected a; found b; c"), expectation=Expectation.SAME, score=0.5
    )


def test_the_worker_outlives_whatever_a_command_does(child, monkeypatch):
    ask = child.ask
    assert ask("mobileiqa.main", ["--version"])["exit_code"] == 0
    assert ask("os:abort", [])["ended"] == "signal 6"
    refused = ask("mobileiqa.score", ["nothing.png"])
    assert refused["exit_code"] == 2 and "expected" in refused["stderr"]
    assert "AttributeError" in ask("os:no_such_function", [])["traceback"]
    child.hang_s = 1
    assert ask("signal:pause", [])["ended"] == "hang"
    child.hang_s = 20
    monkeypatch.setattr(client, "RESIDENT", 1)
    assert ask("mobileiqa.main", ["--version"])["ended"] == "memory"


def fuzz(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, *counts: str
) -> tuple[int, set[str]]:
    """Exit code, and (rule, command) of what was broken."""
    more = ["--fault", fault] if fault else []
    code = main(["--processes", "1", "--failures", str(tmp_path / "kept"), "--counts", *counts, *more])
    signatures = json.loads(capsys.readouterr().out.splitlines()[-1])["signatures"]
    return code, {tuple(signature.split(" | ")[:2]) for signature in signatures}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "counts", "broken"),
    [
        ("png-checksums", "images=160", ("refusal", "mobileiqa.score")),
        ("file-checksums", "flatbuffers=12", ("refusal", "mobileiqa.score")),
        ("typed-json", "json=60", ("answers", "mobileiqa.score")),
    ],
)
def test_a_fault_that_is_put_back_is_found(tmp_path, capsys, fault, counts, broken):
    code, seen = fuzz(tmp_path, capsys, fault, counts)
    assert code == 1 and broken in seen
    rest = sorted((tmp_path / "kept").iterdir())[0]
    assert main(["--replay", str(rest), "--fault", fault]) == 1
    assert main(["--replay", str(rest)]) == 0, "the product as it is refuses the same file"


@pytest.mark.slow
def test_the_same_cases_break_no_rule_without_the_faults(tmp_path, capsys):
    assert fuzz(tmp_path, capsys, "", "images=160", "flatbuffers=12", "json=60") == (0, set())
