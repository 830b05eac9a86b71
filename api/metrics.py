"""What the front door counts, as Prometheus reads it."""

from prometheus_client import Counter

SUBMISSIONS = Counter(
    "img2img_submissions_total", "Valid requests, by what the ledger made of them.", ["outcome"]
)
