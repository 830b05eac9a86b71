"""What a courier counts, as Prometheus reads it."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter(
    "img2img_webhook_deliveries_total",
    "What came of webhooks that were due: delivered, retry, given_up, put_off.",
    ["outcome"],
)
LATENCY = Histogram(
    "img2img_webhook_latency_seconds",
    "From the end of a job, or its webhook's replay, until it was delivered.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 28800, 86400),
)
OPEN_BREAKERS = Gauge("img2img_webhook_open_breakers", "Receivers left alone because they fail.")
SWEPT = Counter(
    "img2img_swept_objects_total",
    "Objects removed: leftover, of lost attempts; expired, where the bucket does not do it.",
    ["why"],
)
JOBS_WAITING = Gauge("img2img_jobs_waiting", "Jobs that wait for a worker.", ["pool"])
JOBS_WAITING_SECONDS = Gauge(
    "img2img_jobs_waiting_seconds", "How long the first of them has waited.", ["pool"]
)
JOBS_RUNNING = Gauge("img2img_jobs_running", "Jobs that a worker holds a lease on.")
LEASES_OVERDUE = Gauge("img2img_leases_overdue", "Of them, those whose lease has ended.")
WORKERS = Gauge("img2img_workers", "GPU workers that are alive.")
DEAD_LETTERS = Gauge("img2img_dead_letters", "Jobs and webhooks given up; the last 10,000 count.")
WAITING = Gauge("img2img_webhook_waiting", "Webhooks that are not delivered, due or not.")
BACKLOG_SECONDS = Gauge(
    "img2img_webhook_backlog_seconds", "How long the one that is due the longest has been due."
)
