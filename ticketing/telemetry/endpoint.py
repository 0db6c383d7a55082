"""A port on which Prometheus asks a part that serves no buyers: a receipt worker, the sweeper.

What must stay true: a part works without it. A port that is taken costs the metrics of this part, never its work.
"""

import errno
from collections.abc import Iterable

from loguru import logger
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server
from prometheus_client.registry import Collector

disable_created_metrics()
WORKERS_MOST = 100  # ports that are tried


def worker_ports(first: int) -> range:
    """The ports among which the receipt workers of one machine share: those after the sweeper's."""
    return range(first + 1, first + 1 + WORKERS_MOST)


def serve(host: str, ports: Iterable[int], *collectors: Collector) -> int | None:
    """From now on a thread tells these on the first free port; which one, or None where that failed."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    fault: OSError | None = None
    for port in ports:
        try:
            start_http_server(port, host, registry)
        except OSError as error:
            fault = error
            if error.errno != errno.EADDRINUSE:
                break
        else:
            logger.info("metrics on http://{}:{}/metrics", host, port)
            return port
    logger.warning("no metrics of this process, METRICS_HOST and METRICS_PORT can't be used: {}", fault)
    return None
