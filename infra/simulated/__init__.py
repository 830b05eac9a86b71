"""A GPU worker whose device only takes time: the whole service at full speed, on any machine.

`python -m infra.simulated` is `python -m worker.gpu` with another device under it. Everything
above that is real: Celery, ledger, engine, batches, image intake, PNG, uploads. The stack starts
one for each process named `simulated`.
"""
