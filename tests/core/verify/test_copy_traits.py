"""What copies keep is learned, never assumed."""

from __future__ import annotations

from airflow_provider_mqs.core.verify.copy_traits import Likeness, Traits, learn, learn_most

ONE = Traits("k1", 10, None, "app", None)
TWO = Traits("k2", 20, "tag", "app", "m-2")


def test_copies_that_keep_everything_are_known_by_everything() -> None:
    """Rows of live producers beside them do not matter."""
    assert learn({0: [ONE, TWO]}, {0: [TWO, ONE, ONE._replace(key="live")]}) == Likeness(Traits._fields)


def test_a_trait_that_one_copy_lacks_does_not_count() -> None:
    """Copies lose their message id here."""
    likeness = learn({0: [ONE, TWO]}, {0: [ONE, TWO._replace(message_id=None)]})

    assert likeness is not None
    assert "message_id" not in likeness.names


def test_copies_may_be_larger_by_the_same_number_of_bytes() -> None:
    """A header that the service adds has a size."""
    likeness = learn({0: [ONE, TWO]}, {0: [ONE._replace(size=34), TWO._replace(size=44)]})

    assert likeness is not None
    assert likeness.size_shift == 24
    assert likeness.of_source(ONE) == likeness.of_row(ONE._replace(size=34))


def test_sizes_that_differ_at_random_do_not_count() -> None:
    """Neither does a size that no row shows."""
    likeness = learn({0: [ONE, TWO]}, {0: [ONE._replace(size=34), TWO._replace(size=45)]})

    assert likeness is not None
    assert "size" not in likeness.names
    assert learn({0: [ONE]}, {0: [ONE._replace(size=None)]}) == Likeness(("key", "tag", "app_id", "message_id"))


def test_without_a_copy_for_each_message_nothing_is_learned() -> None:
    """Nor where nothing was surely sent."""
    assert learn({0: [ONE, TWO]}, {0: [ONE]}) is None
    assert learn({0: [ONE]}, {1: [ONE]}) is None
    assert learn({}, {0: [ONE]}) is None


def test_what_most_copies_keep_tells_which_message_has_none() -> None:
    """One of three is missing, and the key still counts."""
    three = Traits("k3", 30, None, "app", None)

    assert "key" in learn_most({0: [ONE, TWO, three]}, {0: [ONE, three]}).names
    assert learn_most({}, {}).names == Traits._fields
