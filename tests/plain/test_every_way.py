"""Random histories through nasty projections: plain and compiled, cut, in partitions and with updates, give equal
rows.
"""

from __future__ import annotations

import nasty_projections as nasty
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import definition_of
from runner.errors import FoldFailure
from runner.testing.batches import sent
from runner.testing.folds import Way, fold_rows
from runner.testing.strategies import histories

ways = st.builds(
    Way,
    compiled=st.booleans(),
    partitions=st.sampled_from([1, 2, 8]),
    cuts=st.lists(st.integers(1, 15), max_size=3).map(tuple),
    updates=st.lists(st.integers(1, 15), max_size=3).map(tuple),
)


@pytest.mark.parametrize("projection", nasty.ALL, ids=lambda p: p.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_way_gives_the_same_rows(projection, data) -> None:
    definition = definition_of(projection)
    scopes = data.draw(
        st.sampled_from([{}, {"source": st.sampled_from(["s", "t"]), "tenant": st.sampled_from(["", "ä"])}])
    )
    events = sent(
        data.draw(histories(*nasty.EVENTS, max_size=16, **scopes), label="events"),
        absent={
            0: data.draw(
                st.sets(st.sampled_from(["place", "colour", "tags", "total", "customer", "took"])), label="absent"
            )
        },
    )
    reference = fold_rows(definition, events, Way())
    way = data.draw(ways, label="way")
    found = fold_rows(definition, events, way)
    if isinstance(reference, FoldFailure):
        assert isinstance(found, FoldFailure), f"plain failed: {reference}; {way} gave rows"
        assert (found.position, found.handler) == (reference.position, reference.handler)
    else:
        assert found == reference, str(way)
