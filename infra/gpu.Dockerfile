# One worker for one device. torch's wheels bring CUDA along, so the host needs only the driver and the container toolkit.
#   BASE                 any image with Python 3.11 or later
#   PIP_EXTRA_INDEX_URL  where another build of the pinned torch is found (another CUDA, or CPU only)
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/img2img
ENV PATH=/opt/img2img/bin:$PATH
WORKDIR /src
# The dependencies alone first, for a package that is still empty: gigabytes that a change of ours must not move.
COPY pyproject.toml README.md LICENSE ./
COPY infra/constraints.txt infra/constraints.txt
ARG PIP_EXTRA_INDEX_URL=
RUN mkdir api shared worker && pip install -c infra/constraints.txt ".[gpu]" && pip uninstall -y img2img
COPY api api
COPY shared shared
COPY worker worker
RUN pip install --no-deps .

FROM ${BASE}
# /models belongs to the user, and so does a new volume that is mounted there.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin img2img \
 && install -d -o 10001 -g 10001 /models
COPY --from=build /opt/img2img /opt/img2img
COPY infra/models.yaml /app/infra/models.yaml
COPY infra/demo_model /app/infra/demo_model
COPY infra/models /app/infra/models
ENV PATH=/opt/img2img/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    IMG2IMG_MODELS_FILE=/app/infra/models.yaml \
    IMG2IMG_MODELS_DIR=/models \
    IMG2IMG_READY_FILE=/tmp/ready
WORKDIR /app
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD ["test", "-f", "/tmp/ready"]
CMD ["python", "-m", "worker.gpu"]
