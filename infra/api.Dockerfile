# The front door; the courier runs from the same image with another command.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/img2img
ENV PATH=/opt/img2img/bin:$PATH
WORKDIR /src
# The dependencies alone first, for a package that is still empty: a change of ours then leaves this layer as it is.
COPY pyproject.toml README.md LICENSE ./
COPY infra/constraints.txt infra/constraints.txt
RUN mkdir api shared worker && pip install -c infra/constraints.txt ".[api]" && pip uninstall -y img2img
COPY api api
COPY shared shared
COPY worker worker
RUN pip install --no-deps .

FROM ${BASE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin img2img
COPY --from=build /opt/img2img /opt/img2img
COPY infra/models.yaml /app/infra/models.yaml
COPY infra/sweep /app/infra/sweep
ENV PATH=/opt/img2img/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    IMG2IMG_MODELS_FILE=/app/infra/models.yaml
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "api.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", \
     "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header", \
     "--timeout-graceful-shutdown", "20", "--timeout-keep-alive", "75"]
