"""What a copy keeps is learned, never assumed."""

from __future__ import annotations

from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Traits, traits_all_keep, traits_most_keep

ONE = Traits("k1", 10, None, "app", None)
TWO = Traits("k2", 20, "tag", "app", "m-2")


def test_copies_that_keep_every_trait_are_recognised_by_all_of_them() -> None:
    """Rows of live producers beside them do not matter."""
    assert traits_all_keep({0: [ONE, TWO]}, {0: [TWO, ONE, ONE._replace(key="live")]}) == KeptTraits(Traits._fields)


def test_a_trait_that_one_copy_lacks_does_not_count() -> None:
    """Copies lose their message id here."""
    kept = traits_all_keep({0: [ONE, TWO]}, {0: [ONE, TWO._replace(message_id=None)]})

    assert kept is not None
    assert "message_id" not in kept.names


def test_copies_may_be_larger_by_the_same_number_of_bytes() -> None:
    """The service may add a header."""
    kept = traits_all_keep({0: [ONE, TWO]}, {0: [ONE._replace(size=34), TWO._replace(size=44)]})

    assert kept is not None
    assert kept.size_shift == 24
    assert kept.key_of_source(ONE) == kept.key_of_candidate(ONE._replace(size=34))


def test_sizes_that_differ_at_random_do_not_count() -> None:
    """Neither does a size that no row shows."""
    kept = traits_all_keep({0: [ONE, TWO]}, {0: [ONE._replace(size=34), TWO._replace(size=45)]})

    assert kept is not None
    assert "size" not in kept.names
    assert traits_all_keep({0: [ONE]}, {0: [ONE._replace(size=None)]}) == KeptTraits(
        ("key", "tag", "app_id", "message_id")
    )


def test_nothing_is_learned_unless_every_message_has_a_candidate() -> None:
    """Nor if nothing was surely sent."""
    assert traits_all_keep({0: [ONE, TWO]}, {0: [ONE]}) is None
    assert traits_all_keep({0: [ONE]}, {1: [ONE]}) is None
    assert traits_all_keep({}, {0: [ONE]}) is None


def test_what_most_copies_keep_shows_which_message_has_none() -> None:
    """One of three is missing, and the key still counts."""
    three = Traits("k3", 30, None, "app", None)

    assert "key" in traits_most_keep({0: [ONE, TWO, three]}, {0: [ONE, three]}).names
    assert traits_most_keep({}, {}).names == Traits._fields
