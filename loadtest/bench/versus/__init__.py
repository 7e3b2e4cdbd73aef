"""Compare hamlet1 with hamlet: one schedule, one seed, one simulated world, both at once."""
