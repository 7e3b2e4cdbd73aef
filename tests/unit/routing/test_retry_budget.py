"""How many retries the calls of a route earn, and how many may be in flight."""

from hamlet.routing.retry_budget import RetryBudget


def test_retry_budget_allows_a_fifth_plus_reserve() -> None:
    budget = RetryBudget(0.2)
    taken = 0
    for _ in range(100):
        budget.start_call()
        if budget.try_start_retry():
            taken += 1
            budget.end_retry()
        budget.end_call()
    assert 38 <= taken <= 40
    assert budget.remaining_ratio < 0.1


def test_retries_in_flight_stay_a_fifth_of_the_calls() -> None:
    budget = RetryBudget(0.2)
    for _ in range(50):
        budget.start_call()
    assert sum(budget.try_start_retry() for _ in range(15)) == 10
    few = RetryBudget(0.2)
    few.start_call()
    assert sum(few.try_start_retry() for _ in range(15)) == 3
