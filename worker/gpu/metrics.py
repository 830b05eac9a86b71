"""What a GPU worker counts, as Prometheus reads it."""

from prometheus_client import Counter, Gauge, Histogram

STEPS = Counter("img2img_engine_steps_total", "Denoiser forwards.")
ROWS = Counter("img2img_engine_rows_total", "Samples in those forwards.")
PADDED_ROWS = Counter("img2img_engine_padded_rows_total", "Rows that only filled a bucket.")
OCCUPANCY = Histogram(
    "img2img_engine_batch_occupancy",
    "Samples per denoiser forward.",
    buckets=(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16),
)
STEP_SECONDS = Histogram(
    "img2img_engine_step_seconds",
    "Time of a denoiser call; on CUDA until it is launched, not until it is done.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
FINISHED = Counter("img2img_engine_samples_finished_total", "Samples handed back as pictures.")
FAILED = Counter("img2img_engine_samples_failed_total", "Samples handed back as errors.")
CANCELLED = Counter("img2img_engine_samples_cancelled_total", "Samples dropped on request.")
RESTARTED = Counter(
    "img2img_engine_samples_restarted_total", "Begun again because others held the memory."
)
RECOMPILES = Counter(
    "img2img_engine_recompiles_total",
    "Shapes that no longer fit what was compiled for them.",
)
FLAGGED = Counter("img2img_pictures_flagged_total", "Pictures replaced because they are unsafe.")
CACHE_HITS = Counter("img2img_engine_cache_hits_total", "Encodings found.", ["cache"])
CACHE_MISSES = Counter("img2img_engine_cache_misses_total", "Encodings computed.", ["cache"])
LOADS = Counter("img2img_model_loads_total", "Models read from the disk.", ["model_id"])
EVICTIONS = Counter("img2img_model_evictions_total", "Models let go for others.", ["model_id"])
LOAD_SECONDS = Histogram(
    "img2img_model_load_seconds",
    "From the disk to the device.",
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300),
)
MODEL_BYTES = Gauge(
    "img2img_model_bytes", "On the device; what models share counts for each.", ["model_id"]
)
MODEL_WAITING = Gauge("img2img_model_waiting", "Jobs that wait for their model to be loaded.")
ATTEMPTS = Counter("img2img_attempts_total", "Attempts at jobs, by how they ended.", ["outcome"])
JOB_SECONDS = Histogram(
    "img2img_job_seconds",
    "From claim to stored images.",
    buckets=(0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600),
)
STAGE_SECONDS = Histogram(
    "img2img_stage_seconds",
    "What the time of a job that succeeded went into, from claim to end.",
    ["stage"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)


def record_step(*, samples: int, rows: int, seconds: float) -> None:
    """One denoiser forward of `rows` rows, of which `samples` were real."""
    STEPS.inc()
    ROWS.inc(samples)
    PADDED_ROWS.inc(rows - samples)
    OCCUPANCY.observe(samples)
    STEP_SECONDS.observe(seconds)


def record_load(model_id: str, seconds: float, resident: int) -> None:
    """A model was loaded, and holds so many bytes."""
    LOADS.labels(model_id).inc()
    LOAD_SECONDS.observe(seconds)
    MODEL_BYTES.labels(model_id).set(resident)


def record_eviction(model_id: str) -> None:
    """A model was let go of."""
    EVICTIONS.labels(model_id).inc()
    MODEL_BYTES.labels(model_id).set(0)
