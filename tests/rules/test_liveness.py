import pytest

from fastroute.rules.liveness import Activity, Liveness, Patience, Verdict

PATIENCE = Patience(hung_after=10, spinning_after=60)
TICK = 0.25


def verdict_after(seconds: float, state: str, share: float, patience: Patience = PATIENCE):
    """Return the verdict on a worker that used a share of a CPU without any heartbeat."""
    liveness, verdict = Liveness(patience), Verdict.ALIVE
    liveness.has_beaten(1)
    for look in range(int(seconds / TICK)):
        assert not liveness.has_beaten(1)
        verdict = liveness.look(Activity(cpu_s=7 + look * TICK * share, state=state), TICK)
    return verdict


@pytest.mark.parametrize(
    ("seconds", "state", "share", "verdict"),
    [
        pytest.param(9.75, "S", 0, Verdict.ALIVE, id="not-for-long"),
        pytest.param(11, "S", 0, Verdict.HUNG, id="sleeps"),
        pytest.param(11, "S", 0.05, Verdict.HUNG, id="sleeps-but-for-a-signal"),
        pytest.param(11, "T", 0, Verdict.HUNG, id="stopped"),
        pytest.param(11, "t", 0, Verdict.HUNG, id="in-a-debugger"),
        pytest.param(11, "R", 1, Verdict.BUSY, id="computes"),
        pytest.param(11, "S", 0.5, Verdict.BUSY, id="computes-between-waits"),
        pytest.param(300, "R", 0, Verdict.BUSY, id="gets-no-CPU"),
        pytest.param(300, "R", 0.1, Verdict.BUSY, id="gets-little-CPU"),
        pytest.param(300, "D", 0, Verdict.BUSY, id="waits-for-the-disk"),
        pytest.param(59, "R", 1, Verdict.BUSY, id="computes-for-long"),
        pytest.param(61, "R", 1, Verdict.SPINNING, id="endless-loop"),
        pytest.param(125, "R", 0.5, Verdict.SPINNING, id="endless-loop-on-a-busy-machine"),
    ],
)
def test_verdict(seconds, state, share, verdict):
    assert verdict_after(seconds, state, share) is verdict


def test_a_heartbeat_starts_again():
    liveness = Liveness(PATIENCE)
    for beat in range(1, 100):
        assert liveness.has_beaten(beat)
        for _ in range(30):
            assert liveness.look(Activity(), TICK) is Verdict.ALIVE
    assert liveness.silent_s == 7.5


def test_the_time_before_the_silence_does_not_count():
    """A worker that was busy and then waits is not hung before it waited long enough."""
    liveness = Liveness(PATIENCE)
    liveness.has_beaten(1)
    for look in range(100):
        liveness.look(Activity(cpu_s=look * TICK, state="R"), TICK)
    verdicts = [liveness.look(Activity(cpu_s=24.75, state="S"), TICK) for _ in range(42)]
    assert verdicts.index(Verdict.HUNG) == 40
