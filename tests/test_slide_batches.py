"""Batches of slides: all slides once, and a slide more or less is a matter of its batch alone."""

from hypothesis import given
from hypothesis import strategies as st

from slpd.slide_batches import SLIDES_PER_BATCH, batches_of

ids = st.sets(st.text("abcdefghij0123456789", min_size=1, max_size=6), min_size=1, max_size=120)


@given(ids)
def test_every_slide_is_in_one_batch_and_none_is_empty(slides: set[str]) -> None:
    batches = batches_of(slides)
    assert sorted(slide for batch in batches.values() for slide in batch) == sorted(slides)
    assert all(batches.values())
    assert batches == batches_of(sorted(slides, reverse=True))


@given(ids, st.text("xyz", min_size=1, max_size=6))
def test_an_added_slide_changes_only_its_batch_unless_batches_are_added(slides: set[str], new: str) -> None:
    before, after = batches_of(slides), batches_of({*slides, new})
    changed = [number for number in after if before.get(number) != after[number]]
    grown = len(slides) in (SLIDES_PER_BATCH * 2**k for k in range(4))
    assert len(changed) == 1 or grown


def test_batches_are_of_a_size_that_shares_a_model() -> None:
    for n_slides, n_batches in [(1, 1), (24, 1), (25, 2), (48, 2), (49, 4), (2146, 128)]:
        batches = batches_of(f"TCGA-{n:04}" for n in range(n_slides))
        assert len(batches) == n_batches
        assert max(map(len, batches.values())) <= 2 * SLIDES_PER_BATCH
