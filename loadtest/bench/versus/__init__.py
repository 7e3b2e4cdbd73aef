"""hamlet1 against hamlet: one schedule, one seed, one simulated world, both at once."""
