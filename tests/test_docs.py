"""What README and docs tell people to type exists: commands, their options, files that are linked; and it runs."""

import ast
import functools
import io
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from mobileiqa.main import COMMANDS, OLDER

ROOT = Path(__file__).resolve().parents[1]
CODE = ("mobileiqa", "convert", "calibration", "android_bench")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EVERY_PAGE = [*PAGES, *sorted((ROOT / "benchmarks").glob("*.md")), ROOT / "mobileiqa/reference/README.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KNOWN = "AMD|ARM|BY-SA|CC|CI|CONTRIBUTING|CPU|CSV|CVPR|EPYC|GB|GPU|HTML|JPEG|JSON|MB|SHA-256"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CI = ROOT / "docs" / "ci"
MODULES = {command.typed: command.module for command in COMMANDS.values()} | {m: m for _, m in OLDER.values()}


def typed(text: str) -> list[list[str]]:
    """The words after `python -m` or `mobileiqa`, of every command in fenced blocks, comments left out."""
    results = []
    for block in re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("python -m "):
                results.append(shlex.split(line, comments=True)[2:])
            elif line.startswith("mobileiqa "):
                words = shlex.split(line, comments=True)[1:]
                length = 2 if " ".join(words[:2]) in COMMANDS else 1
                results.append([COMMANDS[" ".join(words[:length])].typed, *words[length:]])
    return results


def help_of(module: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a command, or of the subcommand that `words` name."""
    first = [words[0]] if words and module in ("mobileiqa.data", "mobileiqa.ratings") else []
    with pytest.raises(SystemExit):
        import_module(MODULES[module]).main([*first, "--help"])
    return capsys.readouterr().out


def name_of(page: Path) -> str:
    """The page, for a test's name."""
    return str(page.relative_to(ROOT))


def check_calls(page: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is one of ours, and has the options that follow it."""
    for module, *words in calls:
        if module.startswith(("tools.", "benchmarks.", "tests.", "pytest")):
            continue
        shown = help_of(module, words, capsys)
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown), f"{page.name}: {module} has no {option}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_commands_and_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_calls(page, typed(page.read_text(encoding="utf-8")), capsys)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_check_sees_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["```", "python -m convert.inspect x.tflite --chekc  # comment --no", "mobileiqa convert --fp16 \\",
             "    --out x", "```", ""]  # fmt: skip
    block = "\n".join(lines)
    assert typed(block) == [
        ["convert.inspect", "x.tflite", "--chekc"],
        ["convert.tflite", "--fp16", "--out", "x"],
    ]
    assert "--chekc" not in help_of("convert.inspect", [], capsys)


def test_the_workflow_calls_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load((CI / "parity.yml").read_text(encoding="utf-8"))
    lines = [step["run"] for step in content["jobs"]["parity"]["steps"] if "run" in step]
    calls = [shlex.split(line) for line in lines if line.startswith("mobileiqa ")]
    assert [words[1] for words in calls] == ["inspect", "check"]
    for _, name, *words in calls:
        shown = help_of(COMMANDS[name].typed, [], capsys)
        assert all(word in shown for word in words if word.startswith("--"))
    assert "python -m pytest tests/test_parity.py" in lines


@pytest.mark.slow
def test_the_test_to_copy_runs(tiny: tuple, photos: Path, tmp_path: Path) -> None:
    """In a repository laid out as the example says; the checkpoint's place is taken by what a path may also be."""
    for folder in ("tests", "ml", "app/src/main/assets", "ci"):
        (tmp_path / folder).mkdir(parents=True)
    text = (CI / "test_parity.py").read_text(encoding="utf-8")
    (tmp_path / "tests" / "test_parity.py").write_text(
        text.replace('ROOT / "ml" / "checkpoint.safetensors"', '"lar-iqa-single"')
    )
    shutil.copy(tiny[2], tmp_path / "app/src/main/assets/model.tflite")
    shutil.copytree(photos, tmp_path / "ci" / "photos")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_parity.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 1  # the toy is not that model, and the message says so
    assert (
        "AssertionError" in process.stdout
        and "wrong spec: name is toy, expected lar-iqa-single" in process.stdout
    )


# What the pages name exists.


def prose(page: Path) -> str:
    """The page without its fenced blocks, each paragraph on one line: a span in backticks may be wrapped."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<!\n)\n(?![\n|#-])", " ", text)


def spans(page: Path) -> list[str]:
    """What stands between backticks outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


@functools.cache
def source() -> str:
    """All code that ships or builds, and the Makefile."""
    files = [file for name in (*CODE, "tools", "benchmarks") for file in sorted((ROOT / name).rglob("*.py"))]
    natives = sorted((ROOT / "android_bench" / "native").iterdir())
    return "\n".join(file.read_text(encoding="utf-8") for file in [*files, *natives, ROOT / "Makefile"])


@functools.cache
def every_test() -> str:
    """All tests."""
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests").rglob("test_*.py")))


def exists(name: str) -> bool:
    """Whether a dotted name is a module of ours, or a name that one defines or imports."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                rest = parts[length : length + 1]
                return not rest or bool(re.search(rf"^(?:def|class)? ?{rest[0]}\b|import .*\b{rest[0]}\b",
                                                  file.read_text(encoding="utf-8"), re.MULTILINE))  # fmt: skip
    return False


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_paths_and_names_in_backticks_exist(page: Path) -> None:
    wrong = []
    for span in spans(page):
        path = re.fullmatch(
            r"((?:mobileiqa|convert|calibration|android_bench|tests|tools|benchmarks|docs)/[\w./-]*)", span
        )
        dotted = re.fullmatch(
            r"((?:mobileiqa|convert|calibration|android_bench|tools)(?:\.\w+)+)(?:\(.*\))?", span
        )
        option = re.match(r"(--[a-z][a-z0-9-]+)", span)
        if re.fullmatch(r"test_\w+", span) and f"def {span}(" not in every_test():
            wrong.append(span)
        target = re.fullmatch(r"make ([a-z0-9-]+)(?: .*)?", span)
        if (path and "NAME" not in span and not (ROOT / path[1]).exists()) or (
            dotted and not exists(dotted[1])
        ):
            wrong.append(span)
        if option and f'"{option[1]}"' not in source() and f"{option[1]}=" not in source():
            wrong.append(span)
        if target and not re.search(rf"^{target[1]}:", MAKEFILE, re.MULTILINE):
            wrong.append(span)
    assert not wrong, f"{page.name}: {wrong}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_code_files_exist_wherever_they_are_named(page: Path) -> None:
    """Also in blocks, and without the folder that a table's head names."""
    files = {
        name_of(file)
        for folder in (*CODE, "tools", "benchmarks", "tests", "docs")
        for file in (ROOT / folder).rglob("*.*")
    }
    text = page.read_text(encoding="utf-8")
    paths = re.findall(rf"(?<![\w/.])((?:{'|'.join(CODE)})/[\w/]+(?:\.\w+)?)", text)
    assert not [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    named = [span for span in spans(page) if re.fullmatch(r"[\w/]+\.(?:py|c)", span) and "NAME" not in span]
    named = [name for name in named if not name.startswith("reference_camera_")]  # what an example writes
    assert not [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_make_targets_in_blocks_exist(page: Path) -> None:
    for target in re.findall(r"^make ([a-z0-9-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"{page.name}: make {target}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_commands_in_backticks_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = [
        span
        for span in spans(page)
        if re.match(rf"(?:python -m [a-z]|mobileiqa (?:{'|'.join(COMMANDS)})\b)", span)
    ]
    check_calls(page, typed("```\n" + "\n".join(calls) + "\n```\n"), capsys)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_python_blocks_import_what_there_is(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(CODE):
                assert all(exists(f"{node.module}.{alias.name}") for alias in node.names), ast.unparse(node)


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_anchors_lead_to_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        other = (page.parent / target) if target else page
        headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in map(slug, headings), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize(
    "page", [page for page in EVERY_PAGE if "| message |" in page.read_text(encoding="utf-8")], ids=name_of
)
def test_messages_are_what_the_code_says(page: Path) -> None:
    """Every message of a table: its words, without what is filled in, stand in the code."""
    code = re.sub(r'"\s*\n\s*(?:f|r)?"', "", source())
    for table in re.findall(
        r"^\| message \|.*\n\|[-|: ]+\n((?:\|.*\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        for row in table.splitlines():
            for message in re.findall(r"`([^`]+)`", row.split("|")[1]):
                for piece in re.split(
                    r"\.\.\.|;|\b[A-Z]{4,}\b|b'.*?'|'\w+'|WxH|HxW|[<>]=? [\d.]+|\b\d+\b", message
                ):
                    words = re.sub(r"^(?:expected|found|run) |^(?:a|at least one) ", "", piece.strip(" ,:"))
                    assert words in code, f"{page.name}: {words!r} of {message!r}"


# Tables that list what the code lists.


def first_column(page: str, header: str) -> set[str]:
    """The names in backticks of a table's first column."""
    text = (ROOT / page).read_text(encoding="utf-8")
    table = re.search(rf"^\| {header} \|.*\n\|[-|: ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"{page}: no table of {header}"
    return {name for row in table[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_tables_list_what_the_code_lists() -> None:
    from convert.flatbuffer.passes import CUTS, PASSES
    from mobileiqa.datasets.registry import READERS
    from mobileiqa.training.recipe import RECIPES
    from mobileiqa.zoo import MODELS

    order = (ROOT / "convert/rewrites/apply.py").read_text(encoding="utf-8")
    rewrites = set(re.findall(r"^        (\w+)\.(?:REWRITE|rewrite\(\w+\)),$", order, re.MULTILINE))
    assert first_column("docs/rewrites.md", "rewrite.*?") == rewrites
    assert first_column("docs/rewrites.md", "pass.*?") == {edit.__name__ for edit in (*CUTS, *PASSES)}
    assert first_column("docs/models.md", "name") == set(MODELS)
    assert first_column("docs/train.md", "recipe") == set(RECIPES)
    assert first_column("docs/train.md", "set") == set(READERS)


def test_every_command_is_on_some_page() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [
        name
        for name, c in COMMANDS.items()
        if not re.search(rf"(mobileiqa {name}|python -m {c.typed})\b", text)
    ]
    assert not missing


def test_tolerances_are_those_of_the_code() -> None:
    from convert.accuracy_report.gates import GATES
    from convert.comparison.compare import TOLERANCES
    from convert.packaging.golden_vectors import TOLERANCES as GOLDEN

    limits = {
        name: {v for v in (t.max_abs, t.mean_abs, t.min_srcc) if v is not None}
        for name, t in TOLERANCES.items()
    }
    limits |= {gate.name: {gate.limit} for gate in GATES["int8"] if gate.name in ("pair_flips", "srcc_drop")}
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (`[^|]*) \| ([^|]*) \| [^|]* \|$", text.partition("## Tolerances")[2], re.MULTILINE
    )
    written = {
        name: {float(value) for value in re.findall(r"(?<![\w.])\d[\d.e-]*", limit)}
        for names, limit in rows for name in re.findall(r"`([^`]+)`", names)
    }  # fmt: skip
    assert {name: written.get(name) for name in limits} == limits
    (row,) = re.findall(r"^\| golden vectors.*$", text, re.MULTILINE)
    golden = {kind.lower(): float(value) for kind, value in re.findall(r"([A-Z]+\d+) (\d[\d.e-]*)", row)}
    assert golden == GOLDEN


def test_the_glossary_has_every_abbreviation_of_the_readme() -> None:
    readme = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>", " ", README, flags=re.DOTALL)
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\b[A-Z][A-Za-z]*[A-Z][A-Z0-9]*(?:-[A-Z]+)*\b|\bTFLite\b|\bLiteRT\b", readme))
    unknown = {word for word in words if word not in glossary and not re.fullmatch(KNOWN, word)}
    assert not unknown


def test_the_readme_is_short_and_its_pictures_are_small() -> None:
    assert len(README.encode()) <= 9000
    pictures = re.findall(r"(?:src=\"|!\[[^\]]*\]\()(docs/images/[^\")]+)", README)
    assert pictures
    assert set(pictures) == {name_of(file) for file in (ROOT / "docs/images").iterdir()}
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000, picture


# What docstrings and comments name exists.


FOREIGN = {"Resample.c", "ref_prob.py"}  # Pillow's, and a paper's


@pytest.mark.parametrize("package", CODE)
def test_docstrings_and_comments_name_files_that_exist(package: str) -> None:
    names = {
        file.name
        for folder in (*CODE, "tools", "benchmarks", "tests", "docs")
        for file in (ROOT / folder).rglob("*.*")
    }
    wrong = []
    for file in sorted((ROOT / package).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        tree = ast.walk(ast.parse(text))
        nodes = (n for n in tree if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
        for words in [*filter(None, map(ast.get_docstring, nodes)), *comments]:
            files = set(re.findall(r"\b[\w]+\.(?:py|c)\b", words)) - FOREIGN
            dotted = re.findall(rf"\b(?:{'|'.join(CODE)})(?:\.[A-Za-z_]\w*)+", words)
            wrong += [f"{name_of(file)}: {n}" for n in files if n not in names]
            wrong += [f"{name_of(file)}: {n}" for n in dotted if not exists(n)]
    assert not wrong
