# One image for every part: the web processes by default; docker-compose.yml names the others' commands.
#
# What must stay true: nothing runs as root, and nothing is written but below /data, /metrics and /tmp, so that the root
# file system can be read-only. Folders that volumes cover exist here with their owner: a new volume takes both over.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --root-user-action=ignore --no-warn-script-location --quiet \
        --require-hashes --prefix=/packages -r requirements.txt
COPY ticketing /app/ticketing
COPY workers /app/workers
COPY seeds /app/seeds
COPY gunicorn.conf.py /app/
# Compiled here: with a read-only root each start would compile it all again.
RUN python -m compileall -q /app

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ticketing \
    && install -d -o ticketing -g ticketing -m 700 \
        /data /data/journal /data/receipts /data/run /data/secrets /metrics /metrics/web /metrics/workers
COPY --from=packages /packages /usr/local
COPY --from=packages /app /app

WORKDIR /app
ENV HOST=0.0.0.0 DATA_DIR=/data METRICS_DIR=/metrics METRICS_HOST=0.0.0.0 METRICS_PORT=3060 LOG_FORMAT=json PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 3049
# It asks whether the process lives. Whether it can sell is /health/ready: an outage is no reason to restart anything.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import os, urllib.request as http; http.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 3049}/health/live', timeout=2)"]
CMD ["python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "ticketing.server.wsgi:app"]
