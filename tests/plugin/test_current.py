"""Plugins in service: those of the configuration that began last."""

from __future__ import annotations

from kubedns.plugin.contract import Shared
from kubedns.plugin.current import Current


def test_one_configuration_at_a_time() -> None:
    current: Current[str] = Current()
    first, second = Shared(), Shared()
    assert (list(current), current.configuration) == ([], None)
    current.begin("a", first)
    current.begin("b", first)
    assert (list(current), current.configuration) == (["a", "b"], first)
    current.begin("c", second)
    assert (list(current), current.configuration) == (["c"], second)
    current.stop("a")  # once its last query is answered
    current.stop("b")
    assert list(current) == ["c"]
    current.stop("c")
    assert (list(current), current.configuration) == ([], None)


def test_whoever_is_looking_may_be_overtaken() -> None:
    current: Current[str] = Current()
    configuration = Shared()
    current.begin("a", configuration)
    current.begin("b", configuration)
    for plugin in current:
        current.stop(plugin)
    assert list(current) == []
