"""A real headless browser that opens a page of a folder over HTTP, and what the page sends back."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any, ClassVar

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Nothing but this machine is asked for anything.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip
WITHOUT_GPU = ("--disable-gpu",)
SOFTWARE_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
)


class Site:
    """A folder over HTTP on this machine, and `files` over it; `answers` holds what pages POST.

    After a POST to /down the folder is not served any more. A request for a name in `silent` gets no reply, once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.answers: Queue[Any] = Queue()
        self.down = False
        self.silent: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self, directory=str(folder)))
        self.url = f"http://localhost:{self.server.server_address[1]}"


class _Handler(SimpleHTTPRequestHandler):
    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, site: Site, *arguments: Any, **keywords: Any) -> None:
        self.site = site
        super().__init__(*arguments, **keywords)

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/")
        if name in self.site.silent:
            self.site.silent.remove(name)
            self.close_connection = True
        elif name in self.site.files:  # the test's own files are there even when the site is down
            content = self.site.files[name]
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(name))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        elif self.site.down:
            self.send_error(503)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/down":
            self.site.down = True
        else:
            self.site.answers.put(json.loads(content))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


def program() -> str | None:
    """The browser on this machine."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """The folder over HTTP."""
    site = Site(folder)
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def answer(site: Site, page: str, options: tuple[str, ...] = WITHOUT_GPU, timeout_s: float = 600) -> Any:
    """What the page POSTs first; AssertionError where it sends nothing in time.

    A page whose request got no reply at all is opened once more: a browser gives up what is under way when the
    machine's network changes, which is no fault of the page. What the browser logged is said.
    """
    result, errors = _opened(site, page, options, timeout_s)
    if _without_reply(result):
        warnings.warn(
            f"{page} is opened again: a request got no reply; the browser's log: {errors}", stacklevel=2
        )
        result, errors = _opened(site, page, options, timeout_s)
        assert not _without_reply(result), (
            f"{page}: twice a request got no reply; the browser's log: {errors}"
        )
    return result


def _without_reply(result: Any) -> bool:
    return isinstance(result, dict) and result.get("error") == "Failed to fetch"


def _opened(site: Site, page: str, options: tuple[str, ...], timeout_s: float) -> tuple[Any, str]:
    """What the page POSTs, and the network errors of the browser's log."""
    command = program()
    assert command is not None, "the caller skips without a browser"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        log = Path(profile, "network.json")
        process = subprocess.Popen(
            [command, *OPTIONS, *options, f"--user-data-dir={profile}/user", f"--log-net-log={log}",
             "--remote-debugging-port=0", f"{site.url}/{page}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            return site.answers.get(timeout=timeout_s), network_errors(log)
        except Empty:
            _end(process)
            words = process.communicate(timeout=20)[1].decode(errors="replace")
            raise AssertionError(f"{page} sent nothing in {timeout_s:.0f} s; {words[-2000:]}") from None
        finally:
            _end(process)
            process.wait(timeout=20)
            if process.stderr:
                process.stderr.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a browser: what is started may be a shell script, and the browser its child, which would live on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def network_errors(log: Path) -> str:
    """The names of the errors in a browser's network log, which is not whole while the browser runs."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    names = {code: name for name, code in re.findall(r'"(ERR_\w+)":(-\d+)', text)}
    codes = dict.fromkeys(re.findall(r'"net_error":(-\d+)', text))
    return ", ".join(names.get(code, code) for code in codes) or "no network error"
