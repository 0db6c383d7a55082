"""/admin/rq: rq-dashboard shows the jobs and the workers, and no buyer's secret."""

import re
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType
from typing import Any

import pytest
import redis
from rq import SimpleWorker

from tests.contract.conftest import Api, problem_of
from ticketing.api.dashboard import web as dashboard
from ticketing.store.queue import QUEUE, SERIALIZER

PAGES = [
    "/admin/rq/",
    "/admin/rq/0/view/workers",
    "/admin/rq/0/view/jobs",
    *(f"/admin/rq/0/view/jobs/receipts/{name}/8/asc/1" for name in ("queued", "failed", "started", "finished")),
]
DATA = [
    "/admin/rq/0/data/queues.json",
    "/admin/rq/0/data/workers.json",
    *(
        f"/admin/rq/0/data/jobs/receipts/{name}/8/{order}/1.json"
        for name in ("queued", "failed")
        for order in ("asc", "dsc")
    ),
    "/admin/rq/0/data/jobs/receipts/started/8/asc/1.json",
]


@pytest.fixture
def worker(queue: redis.Redis) -> Iterator[SimpleWorker]:
    """A worker of the receipts' queue; signals are afterwards what they were."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield SimpleWorker([QUEUE], name="receipts-of-a-test", connection=queue, serializer=SERIALIZER)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def broken_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that fails, and whose traceback names every purchase it had."""

    def render_receipts(event_id: str, purchase_ids: list[str]) -> None:
        raise RuntimeError(f"event {event_id}: can't render {purchase_ids} to /receipts/{purchase_ids[0]}.pdf")

    module = ModuleType("workers.jobs")
    module.render_receipts = render_receipts
    monkeypatch.setitem(sys.modules, "workers.jobs", module)


def enqueue(api: Api, tickets: int = 3) -> list[str]:
    """So many purchases, their receipts in one job."""
    api.open_event(tickets=tickets)
    api.service.dispatcher.stop()  # else it makes a job of what has come whenever its moment is over
    purchases = [api.bought()["purchase_id"] for _ in range(tickets)]
    api.service.dispatcher.stop()
    return purchases


def json_of(api: Api, path: str) -> Any:
    return api.admin("GET", f"/admin/rq/0/data/{path}").get_json()


def test_the_dashboard_shows_a_queued_job_by_its_description(api: Api) -> None:
    enqueue(api)
    (queue,) = json_of(api, "queues.json")["queues"]
    assert (queue["name"], queue["count"], queue["failed_job_registry_count"]) == ("receipts", 1, 0)
    (job,) = json_of(api, "jobs/receipts/queued/8/asc/1.json")["jobs"]
    assert job["description"] == "3 receipts of event 1"
    assert json_of(api, f"job/{job['id']}.json")["status"] == "queued"


def test_times_are_shown_as_arrow_would() -> None:
    import arrow  # the library of rq-dashboard, which a web process does without

    for moment in (datetime(2026, 11, 28, 10, 5, 7, 123456, tzinfo=UTC), datetime(2026, 11, 28, 10, 5)):
        assert dashboard.serialize_date(moment) == arrow.get(moment).to("UTC").datetime.isoformat()
    elsewhere = datetime(2026, 11, 28, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert dashboard.serialize_date(elsewhere) == arrow.get(elsewhere).to("UTC").datetime.isoformat()
    assert dashboard.serialize_date(None) is None


def test_a_page_loads_nothing_that_its_policy_forbids(api: Api) -> None:
    for path in PAGES:
        answer = api.admin("GET", path)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        targets = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"([^\"]+)\"", answer.text)
        assert len(targets) >= 6
        assert not [target for target in targets if not target.startswith("/")], "from elsewhere"


@pytest.mark.usefixtures("broken_jobs")
def test_the_dashboard_shows_a_failed_job_and_why_it_failed(api: Api, worker: SimpleWorker) -> None:
    enqueue(api)
    worker.work(burst=True, logging_level="CRITICAL")
    (queue,) = json_of(api, "queues.json")["queues"]
    assert (queue["count"], queue["failed_job_registry_count"]) == (0, 1)
    (job,) = json_of(api, "jobs/receipts/failed/8/asc/1.json")["jobs"]
    assert job["description"] == "3 receipts of event 1"
    assert "RuntimeError: event 1: can't render" in job["exc_info"]
    assert json_of(api, f"job/{job['id']}.json")["status"] == "failed"
    assert api.get("/health").get_json()["checks"]["queue"]["failed"] == 1


@pytest.mark.usefixtures("broken_jobs")
def test_a_failed_job_can_be_put_back_into_the_queue_and_is_whole(
    api: Api, worker: SimpleWorker, queue: redis.Redis
) -> None:
    purchases = enqueue(api)
    worker.work(burst=True, logging_level="CRITICAL")
    assert api.admin("POST", "/admin/rq/requeue/receipts").get_json() == {"status": "OK", "count": 1}
    (job,) = api.service.queue._queue.jobs
    assert job.args == ["1", purchases]


def test_the_dashboard_shows_the_workers(api: Api, worker: SimpleWorker) -> None:
    assert json_of(api, "workers.json") == {"workers": []}
    worker.register_birth()
    (shown,) = json_of(api, "workers.json")["workers"]
    assert (shown["name"], shown["queues"], shown["current_job"]) == ("receipts-of-a-test", ["receipts"], "idle")
    assert api.admin("GET", "/admin/pdf-stats").get_json()["queue"]["workers"] == 1
    worker.register_death()
    assert json_of(api, "workers.json") == {"workers": []}


def test_who_looks_at_the_workers_waits_no_longer_for_the_queue(
    api: Api, worker: SimpleWorker, queue: redis.Redis
) -> None:
    """RQ makes the timeout minutes of every client that it is shown a worker through."""
    worker.register_birth()
    patience = queue.connection_pool.connection_kwargs
    patience["socket_timeout"] = 2.0
    assert len(json_of(api, "workers.json")["workers"]) == 1
    assert api.get("/health").get_json()["checks"]["queue"]["workers"] == 1
    assert patience["socket_timeout"] == 2.0


def test_the_dashboard_shows_what_a_worker_works_on(api: Api, worker: SimpleWorker) -> None:
    purchases = enqueue(api)
    (job,) = api.service.queue._queue.jobs
    worker.register_birth()
    worker.prepare_execution(job)
    answer = api.admin("GET", "/admin/rq/0/data/workers.json")
    current = answer.get_json()["workers"][0]["current_job"]
    assert current["description"] == current["call_string"] == "3 receipts of event 1"
    assert not [purchase_id for purchase_id in purchases if purchase_id in answer.text]


@pytest.mark.usefixtures("broken_jobs")
def test_no_page_of_the_dashboard_names_a_purchase(api: Api, worker: SimpleWorker) -> None:
    purchases = enqueue(api)
    worker.work(burst=True, logging_level="CRITICAL")
    (failed,) = json_of(api, "jobs/receipts/failed/8/asc/1.json")["jobs"]
    api.service.queue.enqueue([("1", purchases)])
    (queued,) = api.service.queue._queue.jobs
    worker.register_birth()
    worker.prepare_execution(queued)
    jobs = [f"/admin/rq/0/view/job/{job}" for job in (failed["id"], queued.id)]
    jobs += [f"/admin/rq/0/data/job/{job}.json" for job in (failed["id"], queued.id)]
    for path in [*PAGES, *DATA, *jobs]:
        answer = api.admin("GET", path)
        assert answer.status_code == 200, path
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [purchase_id for purchase_id in purchases if purchase_id in answer.text], path
        assert "can't render" not in answer.text or "(hidden)" in answer.text


def test_no_get_changes_a_job(api: Api, queue: redis.Redis) -> None:
    enqueue(api)
    (job,) = api.service.queue._queue.jobs
    for path in ("requeue/receipts", f"job/{job.id}/delete", f"job/{job.id}/requeue", "queue/receipts/queued/empty"):
        for method in ("GET", "HEAD"):
            answer = api.admin(method, f"/admin/rq/{path}")
            assert answer.status_code == 405
            assert answer.headers["Allow"] == "POST"
    assert [left.id for left in api.service.queue._queue.jobs] == [job.id]


def test_a_job_can_be_deleted_by_post(api: Api) -> None:
    enqueue(api)
    (job,) = api.service.queue._queue.jobs
    assert api.admin("POST", f"/admin/rq/job/{job.id}/delete").get_json() == {"status": "OK"}
    assert api.service.queue._queue.jobs == []


@pytest.mark.parametrize(
    "path",
    [
        "0/view/job/no-such-job",
        "0/data/job/no-such-job.json",
        "0/data/jobs/receipts/nonsense/8/asc/1.json",
        "0/data/jobs/receipts/queued/0/asc/1.json",
        "0/data/jobs/receipts/queued/8/asc/one.json",
        "0/data/jobs/receipts/queued/8/asc/%C2%B2.json",
        "0/view/jobs/receipts/nonsense/8/asc/1",
        "nowhere",
    ],
)
@pytest.mark.usefixtures("quiet_log")
def test_what_the_dashboard_does_not_have_is_not_found(api: Api, path: str) -> None:
    assert problem_of(api.admin("GET", f"/admin/rq/{path}")) == (404, "not-found")


def test_the_dashboard_s_address_without_its_last_slash_leads_there(api: Api) -> None:
    answer = api.get("/admin/rq")
    assert answer.status_code == 308
    assert answer.headers["Location"].endswith("/admin/rq/")


def test_the_dashboard_s_own_files_are_served(api: Api) -> None:
    page = api.admin("GET", "/admin/rq/").text
    for path in ("/admin/rq/static/css/main.css", "/admin/rq/static/js/jquery-3.5.1.min.js"):
        assert path in page
        answer = api.admin("GET", path)
        assert answer.status_code == 200
        answer.close()
