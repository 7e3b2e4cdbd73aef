"""What all sections of the configuration have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Unknown keys are refused, and errors never repeat a value, which may be a secret.
STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class StrictModel(BaseModel):
    """A section: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, **STRICT)
