"""What a web process loads: each library that it leaves out is memory of every process, on every host."""

import subprocess
import sys
from pathlib import Path

from tests.servers import HOST, environment

# Each of these is installed wherever the service is, or by what the service needs.
LEFT_OUT = {"arrow", "dateutil", "fpdf", "obstore", "opentelemetry", "redis.asyncio.client", "rich", "yaml"}
BUILD = "import sys, ticketing.server.wsgi as wsgi; assert wsgi.app; print('\\n'.join(sys.modules))"
USE = """
import sys, ticketing.store, redis
from redis import asyncio
assert asyncio.Redis is redis.asyncio.Redis is sys.modules["redis.asyncio.client"].Redis
import ticketing.api.dashboard, arrow, opentelemetry.trace
assert arrow.get(0) and opentelemetry.trace.get_tracer_provider()
print("all are there")
"""


def said_by(code: str, folder: Path) -> str:
    env = environment(folder, REDIS_URL=f"redis://{HOST}:1", PROMETHEUS_MULTIPROC_DIR=folder)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_a_web_process_loads_no_library_that_it_hardly_ever_uses(tmp_path: Path) -> None:
    loaded = set(said_by(BUILD, tmp_path).split())
    assert {"ticketing.app", "redis.client", "rq_dashboard.web"} <= loaded
    assert loaded & LEFT_OUT == set()


def test_what_is_hidden_from_one_import_can_be_had_after_it(tmp_path: Path) -> None:
    assert said_by(USE, tmp_path) == "all are there\n"
