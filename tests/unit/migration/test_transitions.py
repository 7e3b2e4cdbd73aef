"""The allowed transitions."""

import pytest
from hypothesis import given

from hamlet.migration.rollout_document import FeatureState
from hamlet.migration.transitions import TransitionRefused, next_step, previous_step, promote
from support.migration import feature_states


def test_promotion_goes_one_step_at_a_time_to_the_top() -> None:
    state, steps = FeatureState(), []
    while next_step(state) is not None:
        state = promote(state, now=1.0, epoch=1)
        steps.append(state.step_label)
    assert steps == [
        *("proxy", "shadow", "canary 1%", "canary 5%", "canary 20%", "canary 50%"),
        *("new", "retired"),
    ]


@given(feature_states)
def test_a_step_up_raises_exposure_and_a_step_down_lowers_it(state) -> None:
    stage, weight_bp = previous_step(state)
    lower = FeatureState(stage=stage, weight_bp=weight_bp)
    assert lower.exposure < state.exposure or state.stage == "legacy"
    if state.hold or state.cooldown_until or state.stage == "retired":
        with pytest.raises(TransitionRefused):
            promote(state, now=1.0, epoch=2)
    else:
        assert promote(state, now=1.0, epoch=2).exposure > state.exposure
