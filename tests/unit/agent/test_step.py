"""The task's table: one step at a time, never past what is desired, never back."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.step import Action, step
from cluster.model.task_state import AGENT, MANAGER, TaskState, is_final

S = TaskState
REACHES = {
    Action.ACCEPT: S.ACCEPTED,
    Action.PREPARE: S.READY,
    Action.START: S.RUNNING,
    Action.STOP: S.SHUTDOWN,
}


@pytest.mark.parametrize(
    ("observed", "desired", "action"),
    [
        (S.ASSIGNED, S.RUNNING, Action.ACCEPT),
        (S.ACCEPTED, S.RUNNING, Action.PREPARE),
        (S.PREPARING, S.RUNNING, Action.PREPARE),
        (S.READY, S.READY, Action.HOLD),
        (S.READY, S.RUNNING, Action.START),
        (S.STARTING, S.RUNNING, Action.START),
        (S.RUNNING, S.RUNNING, Action.WATCH),
        (S.RUNNING, S.SHUTDOWN, Action.STOP),
        (S.ASSIGNED, S.SHUTDOWN, Action.STOP),
        (S.RUNNING, S.REMOVE, Action.STOP),
        (S.FAILED, S.RUNNING, Action.REST),
        (S.COMPLETE, S.REMOVE, Action.RELEASE),
    ],
)
def test_row(observed: TaskState, desired: TaskState, action: Action) -> None:
    assert step(observed, desired) is action


@given(st.sampled_from([s for s in S if s < S.REMOVE]), st.sampled_from([S.READY, S.RUNNING, S.SHUTDOWN, S.REMOVE]))
def test_a_step_never_lowers_the_state_and_never_passes_the_desired_one(observed: TaskState, desired: TaskState) -> None:
    assume(observed <= S.READY or desired > S.READY)  # a desired state never goes back
    reached = REACHES.get(step(observed, desired))
    if reached is not None:
        assert reached > observed
        assert reached <= desired


@given(st.sampled_from(list(S)))
def test_final_states_have_no_way_out(state: TaskState) -> None:
    if is_final(state):
        assert state not in AGENT
        assert not MANAGER.get(state)


def test_every_transition_in_the_tables_goes_up() -> None:
    for table in (AGENT, MANAGER):
        for source, targets in table.items():
            assert all(target > source for target in targets)
