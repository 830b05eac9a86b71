"""`make soak`: many jobs of every kind through the whole service, and what each process keeps.

The device only takes time (`infra.simulated`), everything else is real. After every round of jobs
the service is left alone, its records' week is over, and then nothing may be left of the round.

Reading order: __main__, customers, rest, verdict.
"""
