# One image for every part: the web processes by default; docker-compose.yml names the others' commands.
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON}

WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --root-user-action=ignore --quiet -r requirements.txt
COPY gunicorn.conf.py ./
COPY ticketing ticketing
COPY workers workers
COPY seeds seeds
RUN python -m compileall -q ticketing workers seeds \
    && useradd --system --uid 10001 --no-create-home ticketing \
    && install -d -o ticketing -m 700 /data

ENV HOST=0.0.0.0 DATA_DIR=/data PYTHONUNBUFFERED=1
USER ticketing
VOLUME /data
EXPOSE 3049
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as http; http.urlopen('http://127.0.0.1:3049/health/live', timeout=2)"]
CMD ["python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "ticketing.server.wsgi:app"]
