"""Which mirror is asked when: retries, hedging, deadlines, mirror health."""
