"""The table of endings: complete, and consistent with what the docs promise."""

import pytest

from fastroute.ipc.table_layout import COUNTERS, MODEL_COUNTERS, PROCESS_CELLS
from fastroute.rules.outcome import ENDINGS, Next, Outcome, Phase, Side, outcome_of_failure
from fastroute.rules.retry import RETRY_REASONS

EACH = pytest.mark.parametrize("outcome", Outcome, ids=lambda each: each.value)


@EACH
def test_every_outcome_has_a_row(outcome):
    assert outcome in ENDINGS


@EACH
def test_its_counters_exist(outcome):
    ending = ENDINGS[outcome]
    assert ending.counter in {None, *COUNTERS, *PROCESS_CELLS}
    assert ending.model_counter in {None, *MODEL_COUNTERS}
    assert ending.retry_counter in {"", *COUNTERS}


@EACH
def test_only_one_side_answers(outcome):
    """fastroute answers, the server did, or the client's connection ends as well."""
    ending = ENDINGS[outcome]
    if ending.is_response:
        assert (ending.by, ending.status, ending.span_error) == (Side.SERVER, None, None)
    if ending.by is Side.CLIENT:
        assert (ending.status, ending.evidence) == (None, None)
    if ending.by is Side.FASTROUTE:
        assert ending.evidence is None, "no server is to blame"


@EACH
def test_its_retry_rule_is_whole(outcome):
    ending = ENDINGS[outcome]
    if ending.follow is not Next.GIVE_UP:
        assert ending.retry_counter
        assert ending.retry_message
        assert not ending.cause or ending.cause in RETRY_REASONS


@pytest.mark.parametrize("silent", [False, True], ids=["ended", "silent"])
def test_a_response_that_has_begun_is_never_repeated(silent):
    for reused in (False, True):
        outcome = outcome_of_failure(Phase.REPLYING, reused=reused, silent=silent, begun=True)
        ending = ENDINGS[outcome]
        assert (ending.follow, ending.status) == (Next.GIVE_UP, None)
        assert ending.span_error == "broken"


@pytest.mark.parametrize(
    ("phase", "reused", "silent", "status"),
    [
        pytest.param(Phase.CONNECTING, False, False, 502, id="connecting"),
        pytest.param(Phase.WAITING, True, False, 502, id="stale"),
        pytest.param(Phase.WAITING, False, False, 502, id="lost"),
        pytest.param(Phase.WAITING, False, True, 504, id="silent"),
        pytest.param(Phase.REPLYING, False, False, 502, id="in-the-head"),
        pytest.param(Phase.REPLYING, False, True, 504, id="silent-in-the-head"),
    ],
)
def test_what_the_client_gets_instead(phase, reused, silent, status):
    outcome = outcome_of_failure(phase, reused=reused, silent=silent, begun=False)
    assert ENDINGS[outcome].status == status
