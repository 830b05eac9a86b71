"""The front door: validates, authenticates, records and enqueues; never touches a GPU."""
