"""`make drill`: kill a worker and a courier of a running service, and count what customers miss.

Reading order: __main__, stream, findings, local.
"""
