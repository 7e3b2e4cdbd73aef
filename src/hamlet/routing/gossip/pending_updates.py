"""What this process has learned and has not sent to other processes yet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class PendingUpdates:
    """By deployment id: charged cost, calls, and whether the deployment's state has changed."""

    costs: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    changed_ids: set[str] = field(default_factory=set)

    def drain(self) -> PendingUpdates:
        """Hand over what has been recorded, and start empty."""
        drained = PendingUpdates(self.costs, self.calls, self.changed_ids)
        self.costs, self.calls, self.changed_ids = defaultdict(float), defaultdict(float), set()
        return drained
