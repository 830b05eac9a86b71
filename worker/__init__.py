"""The hands: `gpu` makes images, one process per device; `courier` delivers webhooks and reaps."""
