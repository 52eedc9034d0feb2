"""Which plugins there are, and where in the chain a stranger's comes; loading them is tests/plugins/'s."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from kubedns.plugin.registry import PluginError, Registry, find_plugins
from plugins import ORDER

if TYPE_CHECKING:
    from pathlib import Path

SETUP = "def setup(directive, block):\n    return None\n"


def test_built_in_plugins() -> None:
    registry = find_plugins()
    assert registry.order == tuple(ORDER)
    assert {"errors", "kubernetes", "whoami"} <= registry.modules.keys()
    assert all(callable(module.setup) for module in registry.modules.values())


def test_unsupported_are_those_without_a_module() -> None:
    registry = find_plugins()
    assert registry.unsupported == {name for name in ORDER if find_spec(f"plugins.{name}") is None}
    assert Registry(("a", "b"), {}).unsupported == {"a", "b"}


def place(folder: Path, **plugins: str) -> tuple[str, ...]:
    for name, text in plugins.items():
        (folder / f"{name}.py").write_text(text)
    return find_plugins(folder).order


def test_comes_before_forward(tmp_path: Path) -> None:
    order = place(tmp_path, greet=SETUP)
    assert order[order.index("forward") - 1] == "greet"
    assert [name for name in order if name != "greet"] == list(ORDER)


def test_comes_after_the_built_in_it_names(tmp_path: Path) -> None:
    order = place(tmp_path, greet=f'AFTER = "cache"\n{SETUP}')
    assert order[order.index("cache") + 1] == "greet"


def test_takes_the_place_of_a_directive_without_a_module(tmp_path: Path) -> None:
    missing = min(find_plugins().unsupported)
    assert place(tmp_path, **{missing: SETUP}) == tuple(ORDER)
    assert missing not in find_plugins(tmp_path).unsupported


def test_files_with_an_underscore_are_no_plugins(tmp_path: Path) -> None:
    assert place(tmp_path, _helper="raise RuntimeError") == tuple(ORDER)


REFUSED = {
    "the name of a built-in plugin": ("whoami", SETUP, "plugin whoami of .*whoami.py: there is a plugin of that name"),
    "no setup": ("greet", "", "plugin greet of .*greet.py: has no function setup"),
    "setup is no function": ("greet", "setup = 1", "plugin greet of .*greet.py: has no function setup"),
    "AFTER names nothing": ("greet", f'AFTER = "cash"\n{SETUP}', "plugin greet of .*: AFTER names 'cash'"),
    "no Python": ("greet", "def setup(", "plugin .*greet.py: SyntaxError: "),
    "fails when imported": ("greet", "import nothing_of_that_name", "plugin .*greet.py: ModuleNotFoundError: "),
}


@pytest.mark.parametrize(("name", "text", "error"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, name: str, text: str, error: str) -> None:
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(PluginError, match=error):
        find_plugins(tmp_path)


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="is no folder"):
        find_plugins(tmp_path / "missing")
