"""The test's own browser: a request without a reply is tried once more, and said."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.convert.app import browser
from tests.convert.app.browser import answer, serving

pytestmark = pytest.mark.slow

PAGE = b"""<!doctype html><script type="module">
const send = (value) => fetch('/answer', { method: 'POST', body: JSON.stringify(value) });
try { await send({ text: await (await fetch('words')).text() }); }
catch (error) { await send({ error: error.message }); }
</script>"""


@pytest.fixture(autouse=True)
def tools() -> None:
    if browser.program() is None:
        pytest.skip(f"none of {', '.join(browser.PROGRAMS)} is on this machine")


def command_lines() -> bytes:
    """Of every process; one that ends meanwhile has none."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes())
    return b"\n".join(lines)


def test_a_request_without_a_reply_is_tried_again(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        site.files |= {"page.html": PAGE, "words": b"some words"}
        site.silent.add("words")
        with pytest.warns(UserWarning, match=r"page.html is opened again: .* ERR_EMPTY_RESPONSE"):
            assert answer(site, "page.html") == {"text": "some words"}
    assert site.url.encode() not in command_lines()  # no browser lives on


def test_and_not_a_third_time(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        site.files["page.html"] = PAGE.replace(b"'words'", b"'http://localhost:1/words'")
        with (
            pytest.warns(UserWarning, match="opened again"),
            pytest.raises(AssertionError, match="UNSAFE_PORT"),
        ):
            answer(site, "page.html")
