"""Compare hamlet with other gateways: one machine, one run, interleaved rounds, CPU time per request."""
