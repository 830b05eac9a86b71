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
WAITING = Gauge("img2img_webhook_waiting", "Webhooks that are not delivered, due or not.")
BACKLOG_SECONDS = Gauge(
    "img2img_webhook_backlog_seconds", "How long the one that is due the longest has been due."
)
