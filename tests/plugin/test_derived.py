"""What is made of replies: found again by the very reply, and bounded."""

from kubedns.plugin.derived import Derived
from kubedns.wire.reply import Reply


def test_found_by_identity() -> None:
    kept: Derived[str] = Derived(8)
    first, second = Reply(), Reply()
    kept.put(first, "made of the first")
    assert kept.get(first) == "made of the first"
    assert kept.get(second) is None
    kept.clear()
    assert kept.get(first) is None


def test_bounded_and_what_is_hot_stays() -> None:
    kept: Derived[int] = Derived(8)
    hot = Reply()
    kept.put(hot, -1)
    for number in range(100):
        kept.put(Reply(), number)
        assert kept.get(hot) == -1
        assert len(kept) <= 8
