"""`make web`, `make kotlin`: packages from npm that are taken when an app is built, in .envs/NAME/node_modules.

Versions and hashes are pinned here; npm refuses anything else. Install scripts do not run. A folder is complete when
its file `complete` is there, which is written last.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.make_env import ENVS, command

LOCK = "package-lock.json"
# Environment -> package -> version and hash.
PACKAGES = {
    "web": {  # LiteRT in WebAssembly and on WebGPU, Apache-2.0
        "@litertjs/core": (
            "2.5.3",
            "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        ),
        "@litertjs/wasm-utils": (
            "2.5.3",
            "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        ),
    },
    "kotlin": {  # the compiler that makes the AAR's classes, Apache-2.0
        "kotlin-compiler": (
            "2.4.20",
            "sha512-IF5IVM7LpPhA/ntHQQpaVt1yxpaaQovtEVYLyqWMuaLr0XelLPPm7/sM6HLhtcRjjjoSsK7I7lP2kzYJkMy73w==",
        ),
    },
}


def main(argv: list[str] | None = None) -> int:
    """Installs one environment unless it is already there."""
    return command("make_npm", PACKAGES, lambda name: install(ENVS / name, name), ENVS, argv)


def install(folder: Path, name: str) -> bool:
    """True when it was installed, False when it was there; FileNotFoundError without npm."""
    lock = json.dumps(lock_of(name), indent=1) + "\n"
    complete = folder / "complete"
    if complete.is_file() and complete.read_text(encoding="utf-8") == lock:
        return False
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("no npm on the path: install Node.js (Debian: nodejs, npm)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dependencies = {package: version for package, (version, _) in PACKAGES[name].items()}
    about = {"name": name, "private": True, "dependencies": dependencies}
    (folder / "package.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / LOCK).write_text(lock, encoding="utf-8")
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, stdout=sys.stderr
    )
    complete.write_text(lock, encoding="utf-8")
    return True


def lock_of(name: str) -> dict[str, object]:
    """The lock file's content: what npm may install."""
    packages = PACKAGES[name]
    root = {"name": name, "dependencies": {package: version for package, (version, _) in packages.items()}}
    entries = {
        f"node_modules/{package}": {"version": version, "integrity": integrity}
        for package, (version, integrity) in packages.items()
    }
    return {"name": name, "lockfileVersion": 3, "requires": True, "packages": {"": root, **entries}}


if __name__ == "__main__":
    sys.exit(main())
