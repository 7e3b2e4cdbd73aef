"""Every timer that guards a wait: one wheel per event loop, and what is scheduled on it."""
