"""The task's table: one step at a time, never past what is desired, never back."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.step import Action, Seen, step
from cluster.model.task_state import AGENT, MANAGER, TaskState, is_final

S = TaskState
REACHES = {
    Action.ACCEPT: S.ACCEPTED,
    Action.PREPARE: S.READY,
    Action.START: S.STARTING,
    Action.CONFIRM: S.RUNNING,
    Action.CONDEMN: S.FAILED,
    Action.STOP: S.SHUTDOWN,
}
ANYTHING = tuple(Seen)


@pytest.mark.parametrize(
    ("observed", "desired", "seen", "action"),
    [
        (S.ASSIGNED, S.RUNNING, Seen.NOTHING, Action.ACCEPT),
        (S.ACCEPTED, S.RUNNING, Seen.NOTHING, Action.PREPARE),
        (S.PREPARING, S.RUNNING, Seen.NOTHING, Action.PREPARE),
        (S.READY, S.READY, Seen.NOTHING, Action.HOLD),
        (S.READY, S.RUNNING, Seen.NOTHING, Action.START),
        (S.STARTING, S.RUNNING, Seen.NOTHING, Action.START),
        (S.STARTING, S.RUNNING, Seen.PROVING, Action.PROVE),
        (S.STARTING, S.RUNNING, Seen.WELL, Action.CONFIRM),
        (S.STARTING, S.RUNNING, Seen.UNHEALTHY, Action.CONDEMN),
        (S.STARTING, S.RUNNING, Seen.ENDED, Action.CONCLUDE),
        (S.STARTING, S.SHUTDOWN, Seen.PROVING, Action.STOP),
        (S.RUNNING, S.RUNNING, Seen.WELL, Action.WATCH),
        (S.RUNNING, S.RUNNING, Seen.UNHEALTHY, Action.CONDEMN),
        (S.RUNNING, S.RUNNING, Seen.ENDED, Action.CONCLUDE),
        (S.RUNNING, S.RUNNING, Seen.NOTHING, Action.CONCLUDE),
        (S.RUNNING, S.SHUTDOWN, Seen.UNHEALTHY, Action.STOP),
        (S.ASSIGNED, S.SHUTDOWN, Seen.NOTHING, Action.STOP),
        (S.RUNNING, S.REMOVE, Seen.WELL, Action.STOP),
        (S.FAILED, S.RUNNING, Seen.ENDED, Action.REST),
        (S.COMPLETE, S.REMOVE, Seen.ENDED, Action.RELEASE),
    ],
)
def test_row(observed: TaskState, desired: TaskState, seen: Seen, action: Action) -> None:
    assert step(observed, desired, seen) is action


@given(
    st.sampled_from([s for s in S if s < S.REMOVE]), st.sampled_from([S.READY, S.RUNNING, S.SHUTDOWN, S.REMOVE]), st.sampled_from(ANYTHING)
)
def test_a_step_never_lowers_the_state_and_passes_the_desired_one_only_by_failing(observed: TaskState, desired: TaskState, seen: Seen) -> None:
    assume(observed <= S.READY or desired > S.READY)  # a desired state never goes back
    action = step(observed, desired, seen)
    reached = REACHES.get(action)
    if reached is not None:
        assert reached > observed or (action is Action.START and observed is S.STARTING)
        assert reached <= desired or action is Action.CONDEMN


@given(st.sampled_from([S.STARTING, S.RUNNING]))
def test_a_task_that_is_not_well_is_never_said_to_run(observed: TaskState) -> None:
    for seen in set(ANYTHING) - {Seen.WELL}:
        assert step(observed, S.RUNNING, seen) is not Action.CONFIRM


@given(st.sampled_from(list(S)))
def test_final_states_have_no_way_out(state: TaskState) -> None:
    if is_final(state):
        assert state not in AGENT
        assert not MANAGER.get(state)


def test_every_transition_in_the_tables_goes_up() -> None:
    for table in (AGENT, MANAGER):
        for source, targets in table.items():
            assert all(target > source for target in targets)
