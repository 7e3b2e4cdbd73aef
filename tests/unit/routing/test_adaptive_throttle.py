"""Client-side throttling of a vendor that sheds load."""

import random

from hamlet.routing.adaptive_throttle import AdaptiveThrottle


def test_adaptive_throttle_sheds_and_recovers() -> None:
    throttle = AdaptiveThrottle(random.Random(1))
    for i in range(50):
        throttle.record(float(i), overloaded=False)
    assert not throttle.should_shed(50.0)
    for i in range(50, 100):
        throttle.record(float(i), overloaded=True)
    spared = sum(throttle.should_shed(100.0) for _ in range(200))
    assert 20 < spared < 80
    for i in range(100, 300):
        throttle.record(float(i), overloaded=False)
    assert not throttle.should_shed(300.0)
    assert not throttle.is_active


def test_slices_older_than_the_window_expire() -> None:
    throttle = AdaptiveThrottle(random.Random(1))
    throttle.record(0.0, overloaded=True)
    assert not throttle.should_shed(500.0)
    for i in range(5000):
        throttle.record(float(i), overloaded=False)
    assert len(throttle._slices) <= 25
