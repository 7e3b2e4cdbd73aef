"""hamlet beside other gateways: one machine, one run, rounds interleaved, CPU time per request."""
