"""The contract between the front door and the hands: jobs, ledger, queue, store, outbound calls."""
