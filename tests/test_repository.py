"""What must hold of the tree as a whole: pages, sizes, locks, names that belong to one machine."""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loading import ROOT, load

GENERATED = {"__pycache__", "build", "dist"}  # and whatever begins with a dot, but for .ci
MOST_LINES = 450
LONGEST_FUNCTION = 60
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that belong to the repository."""
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in GENERATED and (name == ".ci" or name[0] != ".")]
        yield from (Path(path, name) for name in files if not name.endswith(".pyc"))


FILES = sorted(walk(ROOT))
SOURCES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in {"kubedns", "plugins"}]
FENCED = re.compile(r"^```corefile\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)  # what is code, and no link
PAGES = [path for path in FILES if path.suffix == ".md"]
COREFILES = [
    (f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, block.start()) + 1}", block[1])
    for path in PAGES
    for text in [path.read_text()]
    for block in FENCED.finditer(text)
]
PLUGINS = sorted({path.relative_to(ROOT / "plugins").parts[0].removesuffix(".py") for path in walk(ROOT / "plugins")})
PLUGINS.remove("__init__")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_has_a_page(plugin: str) -> None:
    page = (ROOT / "docs" / "plugins" / f"{plugin}.md").read_text()
    assert re.match(rf"# {plugin}\b", page)
    assert "```corefile\n" in page


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_page_about_the_corefile_leads_to_every_plugin(plugin: str) -> None:
    assert f"[{plugin}](plugins/{plugin}.md)" in (ROOT / "docs" / "corefile.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)", FENCE.sub("", text))
    for path, anchor in links:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                anchor
            )


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_has_a_test(plugin: str) -> None:
    folder = ROOT / "tests" / "plugins"
    tests = [folder / f"test_{plugin}.py", *(folder / plugin).glob("test_*.py")]
    assert any(path.exists() for path in tests)


@pytest.mark.parametrize(("where", "text"), COREFILES, ids=[where for where, _ in COREFILES])
def test_every_corefile_in_the_docs_loads(where: str, text: str) -> None:
    assert load(text, where).groups


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION}
    assert long == set()


def test_no_file_names_a_place_of_one_machine() -> None:
    places = [place for place in (str(ROOT), str(Path.home())) if place != "/"]
    named = re.compile("|".join(rf"(?<![\w.-]){re.escape(place)}/" for place in places).encode())
    assert [shown(path) for path in FILES if named.search(path.read_bytes())] == []


def test_no_file_holds_an_unresolved_conflict() -> None:
    marks = re.compile(rb"^(<{7} |>{7} )", re.MULTILINE)
    assert [shown(path) for path in FILES if marks.search(path.read_bytes())] == []


@pytest.mark.parametrize("path", LOCKS, ids=shown)
def test_a_lock_pins_and_hashes_and_names_no_index(path: Path) -> None:
    entries = re.sub(r"\\\n", "", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)).splitlines()
    pinned = re.compile(r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry for entry in entries if not pinned.fullmatch(entry)] == []


@pytest.mark.parametrize(
    ("lock", "group"), [("run", None), ("build", "build"), ("dev", "dev"), ("fuzz", "fuzz"), ("lock", "lock")]
)
def test_a_lock_holds_what_the_project_asks_for(lock: str, group: str | None) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = settings["dependency-groups"][group] if group else settings["project"]["dependencies"]
    names = {_normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in asked}
    locked = re.findall(r"^([\w.-]+)", (ROOT / "requirements" / f"{lock}.txt").read_text(), flags=re.MULTILINE)
    assert names - {_normal(name) for name in locked} == set()


def _normal(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
