"""Say why: verdicts on faults, blame for map changes, traces, what-if and reproducers.  Model only."""
