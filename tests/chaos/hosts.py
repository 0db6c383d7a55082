"""What a run is made of: one server, and two hosts, each a whole service that reaches it through a proxy of its own.

Or a primary with its replica and sentinels in the server's place, where each host goes by a user of its own.

What must stay true: nothing that is started here outlives `World.stop`; ports lie below those that the system gives to
outgoing connections, so that what is killed gets its own port again; receipts lie in one folder, as on a shared disk.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from tests.chaos.schedule import HOSTS, ONE_GROUP, ONE_SERVER, Catalogue
from tests.groups import SentinelGroup, UserWay
from tests.proxy import Proxy
from tests.receipts import SIGNING_KEY
from tests.servers import ValkeyServer, steady_port, wait_until
from tests.service import Service
from ticketing.outage.journal import Content, JournalDamaged, parse
from ticketing.store.connection import Store

WEB_WORKERS = 2
BACK_S = 20.0
BACK_AGAIN_S = 60.0
GROUP_BACK_S = 60.0
METRIC = re.compile(r"^(?P<name>[a-z_]+)(?:\{[^}]*\})? (?P<value>[0-9.e+-]+)$", re.MULTILINE)
OUTAGE, UNSETTLED = "ticketing_outage", "ticketing_journal_unsettled"
ALARM = re.compile(
    r" CRITICAL |a round of the reserve failed|a batch failed|could not be reported|could not be summed up"
    r"|error in voiding|failed, request"
)
SETTINGS = {
    "WEB_WORKERS": WEB_WORKERS,
    "RECEIPT_WORKERS": 2,
    "RESERVE_TICKETS": 1_000,
    "RESERVE_PER_MILLE": 100,
    "STORE_TIMEOUT_S": 1.0,
    "RECEIPT_DUE_MS": 1_000,
    "RECEIPT_RETRY_BASE_MS": 1_000,
    "RECEIPT_TRIES": 8,
    "SIGNING_KEY": SIGNING_KEY,
}


class ChaosHost:
    """One host: its service, and its way to the server."""

    def __init__(
        self, number: int, folder: Path, receipts: Path, proxy: Proxy | UserWay, settings: Mapping[str, object]
    ) -> None:
        self.number = number
        self.proxy = proxy
        self.service = Service(folder, PORT=steady_port(), REDIS_URL=proxy.url, **SETTINGS | settings)
        self.service.port = int(str(self.service.settings["PORT"]))
        self.service.data_dir.mkdir(parents=True)
        (self.service.data_dir / "receipts").symlink_to(receipts)
        self._looking = threading.Lock()

    @property
    def journal_folder(self) -> Path:
        return self.service.data_dir / "journal"

    def web_workers(self) -> list[psutil.Process]:
        """The web processes that serve, without their master."""
        found = self._gunicorns()
        return [process for process, parent in found.items() if parent in {one.pid for one in found}]

    def masters(self) -> list[psutil.Process]:
        """The web's master, where there is one with a worker."""
        found = self._gunicorns()
        return [process for process in found if process.pid in set(found.values())]

    def receipt_workers(self) -> list[psutil.Process]:
        with self._looking:
            return self.service.find("-m workers")

    def journals(self) -> dict[str, Content]:
        """What each journal of this host holds now, by its file's name."""
        return {path.name: parse(path.read_bytes())[1] for path in sorted(self.journal_folder.glob("slot-*.journal"))}

    def metrics(self) -> dict[str, float]:
        """Each metric's values, summed over its labels; without the samples of histograms."""
        text = self.service.request("GET", "/metrics").body.decode()
        summed: dict[str, float] = {}
        for match in METRIC.finditer(text):
            summed[match["name"]] = summed.get(match["name"], 0.0) + float(match["value"])
        return summed

    def is_free_of(self, *troubles: str) -> bool:
        """Whether it says that it sells from the store, and that none of its processes has any of these troubles."""
        try:
            healthy = all(self.service.request("GET", "/health").json()["status"] == "ok" for _ in range(3))
            seen = self.metrics() if healthy else {}
            return healthy and not any(seen.get(name, 0.0) for name in troubles)
        except (OSError, ValueError):
            return False

    def logged(self, words: str) -> int:
        """How many lines of the service's output have these words."""
        return self.service.log.read_text(errors="replace").count(words)

    def alarms(self) -> list[str]:
        """The lines of its output that must not come, whatever is killed or cut: what an operator or we must mend."""
        return [line for line in self.service.log.read_text(errors="replace").splitlines() if ALARM.search(line)]

    def stop(self) -> None:
        """Its processes have ended by themselves, after one Ctrl-C."""
        self.service.stop()

    def _gunicorns(self) -> dict[psutil.Process, int]:
        """Each living process of the web, and its parent's pid."""
        with self._looking:
            found = {}
            for process in self.service.find("gunicorn"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[process] = process.ppid()
            return found


class World:
    """Everything that runs."""

    def __init__(self, folder: Path, catalogue: Catalogue, **settings: object) -> None:
        self.folder = folder
        self.catalogue = catalogue
        self.hosts: list[ChaosHost] = []
        self._settings = settings

    def start(self) -> None:
        """Two hosts sell from one server."""
        self._start_servers()
        receipts = self.folder / "receipts"
        receipts.mkdir(mode=0o700)
        for number in range(HOSTS):
            folder, way = self.folder / f"host-{number}", self._way_of(number)
            self.hosts.append(ChaosHost(number, folder, receipts, way, self._settings))
        in_parallel(*(host.service.start for host in self.hosts))

    def open_store(self, timeout_s: float = 5.0) -> Store:
        """The store as it is now, past every proxy; the caller closes it."""
        raise NotImplementedError

    def primary_is_killed(self) -> AbstractContextManager[None]:
        """While this is entered nobody holds the sale; what comes back has all that its disk holds."""
        raise NotImplementedError

    def primary_is_stopped(self) -> AbstractContextManager[None]:
        """While this is entered who holds the sale keeps its connections and answers nobody."""
        raise NotImplementedError

    def heal(self) -> None:
        """Every connection works again, and what was kept on the way has been delivered."""
        for host in self.hosts:
            host.proxy.heal()
            host.proxy.deliver()

    def wait_until_it_sells(self, deadline_s: float) -> None:
        """Every process sells from the store, though people go on asking."""
        wait_until(lambda: self._are_free_of(OUTAGE), deadline_s, "no process is in an outage, while people buy")

    def _are_free_of(self, *troubles: str) -> bool:
        return all(host.is_free_of(*troubles) for host in self.hosts)

    def wait_until_calm(self, parked: Set[str], deadline_s: float) -> None:
        """Both hosts sell from the store, and nothing waits in a journal, as far as it could be settled."""
        troubles = (OUTAGE,) if parked else (OUTAGE, UNSETTLED)  # the second counts what is parked as well
        wait_until(lambda: self._are_free_of(*troubles), deadline_s, f"no host tells of {troubles}")
        wait_until(lambda: not self.unsettled(parked), deadline_s, "every journal is empty")

    def unsettled(self, parked: Set[str] = frozenset()) -> list[str]:
        """The purchase ids, voids included, that journals hold. One with a parked id is never emptied, and left out."""
        try:
            contents = [content for host in self.hosts for content in host.journals().values()]
        except JournalDamaged as error:  # read while it was written; one that is really damaged stays so
            return [str(error)]
        emptied = [content for content in contents if parked.isdisjoint(content.purchases)]
        return [purchase_id for content in emptied for purchase_id in (*content.purchases, *content.voids)]

    def stop_hosts(self) -> None:
        """Both have stopped cleanly, at the same time."""
        in_parallel(*(host.stop for host in self.hosts))

    def stop(self) -> None:
        """Nothing runs any more, whatever went wrong before."""
        try:
            self.stop_hosts()
        finally:
            self._stop_servers()

    def _start_servers(self) -> None:
        raise NotImplementedError

    def _way_of(self, number: int) -> Proxy | UserWay:
        raise NotImplementedError

    def _stop_servers(self) -> None:
        raise NotImplementedError


class OneServer(World):
    """A world with one server, and a proxy for each host."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, ONE_SERVER, **settings)
        self._server = ValkeyServer(folder / "valkey")
        self._proxies: list[Proxy] = []

    def open_store(self, timeout_s: float = 5.0) -> Store:
        return self._server.store(timeout_s)

    @contextmanager
    def primary_is_killed(self) -> Iterator[None]:
        port = self._server.port
        self._server.kill()
        try:
            yield
        finally:
            self._server.start()
            assert self._server.port == port, "somebody took the server's port"

    @contextmanager
    def primary_is_stopped(self) -> Iterator[None]:
        self._server.suspend()
        try:
            yield
        finally:
            self._server.resume()

    def _start_servers(self) -> None:
        self._server.port = steady_port()
        self._server.start()

    def _way_of(self, number: int) -> Proxy | UserWay:
        self._proxies.append(Proxy(self._server.port))
        return self._proxies[-1]

    def _stop_servers(self) -> None:
        for proxy in self._proxies:
            proxy.stop()
        self._server.stop()


class OneGroup(World):
    """A world with a primary, its replicas and three sentinels."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 1,
        confirm: int | None = None,
        options: Sequence[str] = (),
        hasty: bool = True,
        **settings: object,
    ) -> None:
        """`confirm`: how many replicas must have each purchase; all of them, unless it is given."""
        self.confirm = replicas if confirm is None else confirm
        super().__init__(folder, ONE_GROUP, REPLICAS_TO_CONFIRM=self.confirm, **settings)
        users = [_user(number) for number in range(HOSTS)]
        self.group = SentinelGroup(folder / "group", replicas, users=users, options=options, hasty=hasty)

    def open_store(self, timeout_s: float = 5.0) -> Store:
        return self.group.primary().server.store(timeout_s)

    def heal(self) -> None:
        """The same, and the group is complete, and stays as it is."""
        self.group.mend()
        self.group.be_patient()
        super().heal()
        self.group.wait_until_complete(GROUP_BACK_S)

    @contextmanager
    def primary_is_killed(self) -> Iterator[None]:
        node = self.group.kill_primary()
        try:
            yield
        finally:
            self.group.restart(node)
            self.group.wait_until_complete(GROUP_BACK_S)

    @contextmanager
    def primary_is_stopped(self) -> Iterator[None]:
        node = self.group.primary()
        node.suspend()
        try:
            yield
        finally:
            node.resume()
            self.group.wait_until_complete(GROUP_BACK_S)

    @contextmanager
    def primary_is_parted(self, *numbers: int) -> Iterator[None]:
        """The primary and these hosts (all, where none is named) are on one side of a cut network."""
        self.group.part(self.group.primary(), *map(_user, numbers))
        try:
            yield
        finally:
            self.group.mend()
            self.group.wait_until_complete(GROUP_BACK_S)

    def _start_servers(self) -> None:
        self.group.start()

    def _way_of(self, number: int) -> Proxy | UserWay:
        return self.group.way_of(_user(number))

    def _stop_servers(self) -> None:
        self.group.stop()


def _user(number: int) -> str:
    return f"host-{number}"


def in_parallel(*works: Callable[[], None]) -> None:
    """All were done; the first error is raised when the last one ended."""
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
