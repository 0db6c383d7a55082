"""An on-sale as queues that flow: buyers, web cores, shards of the store, receipt cores, and buyers who poll. Pure.

Time goes in steps. In each, whoever has work gets CPU: at most its own cores, and where all share a machine at most a
fair part of that. Queues keep their arrival times, so waits are real. What must stay true: buyers = told sold + told
sold out + still waiting; no more tickets are sold than there are; the same
seed gives the same sale.

Not in it: waiting for disk and network (add a round trip and an fsync to every answer), failures, and luck among
processes that share a socket.
"""

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field

from tests.bench.capacity.figures import Measured

MS_US = 1_000.0
READ_SHARE = 0.5  # of the web's work for a purchase comes before the store is asked: assumed
BUY, TELL_SOLD, TELL_REFUSED, POLL, FETCH = "buy", "tell sold", "tell sold out", "poll", "fetch"
NORMAL_FROM = 50.0  # above it a Poisson number is drawn as a normal one


@dataclass(frozen=True)
class Costs:
    """CPU in microseconds of one of each."""

    sold_us: float
    sold_store_us: float
    refused_us: float
    refused_store_us: float
    receipt_us: float
    receipt_store_us: float
    poll_us: float = 0.0
    poll_store_us: float = 0.0
    file_us: float = 0.0

    def web_us(self) -> dict[str, float]:
        """By what somebody in a web process's line wants. Who asks is read before it is known what comes of it."""
        read_us = min(self.sold_us, self.refused_us) * READ_SHARE
        return {
            BUY: read_us,
            TELL_SOLD: self.sold_us - read_us,
            TELL_REFUSED: self.refused_us - read_us,
            POLL: self.poll_us,
            FETCH: self.file_us,
        }

    @classmethod
    def of(cls, measured: Measured) -> "Costs":
        """As they were measured under a crowd."""
        return cls(
            measured.busy_us,
            measured.busy_store_us,
            measured.refused_us,
            measured.refused_store_us,
            measured.receipt_us,
            measured.receipt_store_us,
            measured.poll_us,
            measured.poll_store_us,
            measured.file_us,
        )


@dataclass(frozen=True)
class Plan:
    """Who comes, and what there is for them."""

    buyers: int
    tickets: int
    per_s: float | None = None  # None: all at once
    web: float = 2.0
    shards: int = 1  # this sale's tickets are spread over so many; one event is on one
    receipts: float = 1.0
    cores: float | None = None  # of the one machine on which everything runs; None: each part has its own
    poll_every_s: float = 0.0  # 0: nobody polls
    step_ms: float = 1.0
    seed: int = 1
    most_s: float = 3_600.0


@dataclass
class Result:
    """Times in milliseconds since the doors opened, the longest queues, and how busy each part was until the end."""

    sold: int = 0
    refused: int = 0
    stored: int = 0
    polls: int = 0
    last_ticket_ms: float = 0.0
    last_answer_ms: float = 0.0
    last_receipt_ms: float = 0.0
    waits_ms: dict[float, int] = field(default_factory=dict, repr=False)  # how many waited so long
    receipt_lag_ms: float = 0.0
    longest: dict[str, int] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)

    def wait_ms(self, share: float) -> float:
        """The wait for an answer that this share did not exceed."""
        told, wanted = 0, math.ceil(sum(self.waits_ms.values()) * share)
        for wait_ms, count in sorted(self.waits_ms.items()):
            told += count
            if told >= wanted:
                return wait_ms
        return 0.0


class Queue:
    """Who waits, in turn: each lot with when it began to wait, and with what it wants where that differs."""

    def __init__(self) -> None:
        self.length = self.longest = 0
        self.wanted: Counter[str] = Counter()
        self._lots: deque[tuple[float, int, str]] = deque()

    def put(self, since_ms: float, count: int, want: str = "") -> None:
        """So many more, at the end."""
        if count:
            self._lots.append((since_ms, count, want))
            self.length += count
            self.wanted[want] += count
            self.longest = max(self.longest, self.length)

    @property
    def first(self) -> tuple[int, str]:
        """How many are in the first lot, and what they want."""
        return self._lots[0][1:]

    def take(self, count: int) -> list[tuple[float, int]]:
        """The first so many, or all."""
        taken: list[tuple[float, int]] = []
        while count and self._lots:
            since_ms, waiting, want = self._lots.popleft()
            some = min(waiting, count)
            if some < waiting:
                self._lots.appendleft((since_ms, waiting - some, want))
            taken.append((since_ms, some))
            count -= some
            self.length -= some
            self.wanted[want] -= some
        return taken


class Part:
    """Cores with work: what is granted beyond whole pieces of work goes into the next, unless nothing waits."""

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self.used_us = 0.0
        self._begun_us = 0.0

    def wants_us(self, work_us: float, step_us: float) -> float:
        """How much it would use in this step."""
        return min(self.cores * step_us, max(0.0, work_us - self._begun_us))

    def grant(self, us: float) -> None:
        """So much CPU."""
        self.used_us += us
        self._begun_us += us

    def does(self, waiting: int, each_us: float) -> int:
        """How many are finished by what it was granted."""
        done = waiting if each_us <= 0 else min(waiting, int(self._begun_us / each_us + 1e-9))
        self._begun_us = max(0.0, self._begun_us - done * each_us)
        return done

    def pays(self, owed_us: float, share: float) -> float:
        """That much of what it was granted goes into work that has no pieces; how much."""
        paid_us = min(owed_us, self._begun_us * share)
        self._begun_us -= paid_us
        return paid_us

    def rests(self) -> None:
        """Nothing waits: what was granted too much was not used."""
        self.used_us -= self._begun_us
        self._begun_us = 0.0


class Sale:
    """One run."""

    def __init__(self, plan: Plan, costs: Costs) -> None:
        self._plan, self._costs = plan, costs
        self._random = random.Random(plan.seed)
        self._now_ms = 0.0
        self._to_come = plan.buyers
        self._left = _spread(plan.tickets, plan.shards)
        self._web, self._receipts = Part(plan.web), Part(plan.receipts)
        self._shards = [Part(1.0) for _ in range(plan.shards)]
        self._web_us = costs.web_us()
        self._line = Queue()  # before the web processes
        self._at_store = [Queue() for _ in range(plan.shards)]
        self._due = Queue()
        self._turn = 0
        self._poll_debt = 0.0
        self._owed_us = [0.0] * plan.shards  # the store's share of receipts and polls
        self.result = Result()

    def run(self) -> Result:
        """Until the last answer is told and the last receipt stored, or the plan's time is over."""
        while self._open() and self._now_ms < self._plan.most_s * 1_000:
            self._arrive()
            self._share_cpu()
            self._now_ms += self._plan.step_ms
            self._serve_web()
            self._serve_shards()
            self._draw()
            self._poll()
        return self._sum_up()

    def _open(self) -> bool:
        queues = [self._line, self._due, *self._at_store]
        return bool(self._to_come or any(queue.length for queue in queues))

    def _arrive(self) -> None:
        wanted = self._to_come
        if self._plan.per_s is not None:
            wanted = min(wanted, _poisson(self._random, self._plan.per_s * self._plan.step_ms / 1_000))
        self._to_come -= wanted
        self._line.put(self._now_ms, wanted, BUY)

    def _share_cpu(self) -> None:
        step_us = self._plan.step_ms * MS_US
        parts = self._parts()
        wants = [part.wants_us(work_us, step_us) for part, work_us in zip(parts, self._work_us(), strict=True)]
        room_us = math.inf if self._plan.cores is None else self._plan.cores * step_us
        for part, us in zip(parts, _fair(wants, [part.cores for part in parts], room_us), strict=True):
            part.grant(us)

    def _parts(self) -> list[Part]:
        return [self._web, self._receipts, *self._shards]

    def _work_us(self) -> list[float]:
        """What each part has to do, by the dearest of what may come of it."""
        costs = self._costs
        at_store_us = max(costs.sold_store_us, costs.refused_store_us)
        stores = [queue.length * at_store_us + owed for queue, owed in zip(self._at_store, self._owed_us, strict=True)]
        web_us = sum(count * self._web_us[want] for want, count in self._line.wanted.items())
        return [web_us, self._due.length * costs.receipt_us, *stores]

    def _serve_web(self) -> None:
        """First come, first served. An answer stands in line like a question: behind all who came before it was due."""
        while self._line.length:
            waiting, want = self._line.first
            done = self._web.does(waiting, self._web_us[want])
            for since_ms, count in self._line.take(done):
                self._served(since_ms, count, want)
            if done < waiting:
                return
        self._web.rests()

    def _served(self, since_ms: float, count: int, want: str) -> None:
        if want == BUY:
            self._hand_over(since_ms, count)
        elif want == POLL:
            self._owe(count * self._costs.poll_store_us)
        elif want != FETCH:
            self._told(since_ms, count, want)

    def _hand_over(self, since_ms: float, count: int) -> None:
        for shard, some in enumerate(_spread(count, self._plan.shards, self._turn)):
            self._at_store[shard].put(since_ms, some)
        self._turn += count

    def _serve_shards(self) -> None:
        for shard, (part, queue) in enumerate(zip(self._shards, self._at_store, strict=True)):
            self._pay_owed(shard, part)
            self._sell(shard, part, queue)
            self._refuse(shard, part, queue)
            if not queue.length and self._owed_us[shard] <= 0:
                part.rests()

    def _pay_owed(self, shard: int, part: Part) -> None:
        """Receipts and polls stand in the same line as purchases: each side gets its part of what was granted."""
        waiting_us = self._at_store[shard].length * self._costs.sold_store_us
        owed_us = self._owed_us[shard]
        if owed_us:
            self._owed_us[shard] -= part.pays(owed_us, owed_us / (owed_us + waiting_us))

    def _sell(self, shard: int, part: Part, queue: Queue) -> None:
        sold = part.does(min(queue.length, self._left[shard]), self._costs.sold_store_us)
        self._left[shard] -= sold
        self._due.put(self._now_ms, sold)
        for since_ms, count in queue.take(sold):
            self._line.put(since_ms, count, TELL_SOLD)

    def _refuse(self, shard: int, part: Part, queue: Queue) -> None:
        if self._left[shard]:
            return
        for since_ms, count in queue.take(part.does(queue.length, self._costs.refused_store_us)):
            self._line.put(since_ms, count, TELL_REFUSED)

    def _told(self, since_ms: float, count: int, want: str) -> None:
        if want == TELL_SOLD:
            self.result.sold += count
            self.result.last_ticket_ms = self._now_ms
        else:
            self.result.refused += count
        self.result.last_answer_ms = self._now_ms
        wait_ms = self._now_ms - since_ms
        self.result.waits_ms[wait_ms] = self.result.waits_ms.get(wait_ms, 0) + count

    def _draw(self) -> None:
        waiting = self._due.length
        done = self._receipts.does(waiting, self._costs.receipt_us)
        if done == waiting:
            self._receipts.rests()
        for since_ms, count in self._due.take(done):
            self.result.stored += count
            self.result.last_receipt_ms = self._now_ms
            self.result.receipt_lag_ms = max(self.result.receipt_lag_ms, self._now_ms - since_ms)
            if self._plan.poll_every_s:
                self._line.put(self._now_ms, count, FETCH)
        self._owe(done * self._costs.receipt_store_us)

    def _poll(self) -> None:
        """Whose receipt is not there asks every so often, once the last answer has come."""
        if not self._plan.poll_every_s:
            return
        idle = max(0, self._due.length - self._line.wanted[POLL])
        self._poll_debt += idle * self._plan.step_ms / 1_000 / self._plan.poll_every_s
        polls = int(self._poll_debt)
        self._poll_debt -= polls
        self._line.put(self._now_ms, polls, POLL)
        self.result.polls += polls

    def _owe(self, us: float) -> None:
        for shard in range(len(self._owed_us)):
            self._owed_us[shard] += us / len(self._owed_us)

    def _sum_up(self) -> Result:
        lasted_us = max(self._now_ms, self._plan.step_ms) * MS_US
        self.result.longest = {
            "web": self._line.longest,
            "store": max(queue.longest for queue in self._at_store),
            "receipts": self._due.longest,
        }
        named = {"web": [self._web], "store": self._shards, "receipts": [self._receipts]}
        self.result.busy = {
            name: sum(part.used_us for part in parts) / max(1.0, sum(part.cores for part in parts) * lasted_us)
            for name, parts in named.items()
        }
        return self.result


def _spread(count: int, over: int, first: int = 0) -> list[int]:
    """As evenly as whole numbers allow; who gets one more begins with `first`."""
    each, more = divmod(count, over)
    return [each + ((shard - first) % over < more) for shard in range(over)]


def _fair(wants: list[float], weights: list[float], room: float) -> list[float]:
    """Each what it wants; where that is too much, who wants more than its weight's part gets that part."""
    given, weight = [0.0] * len(wants), sum(its for its, want in zip(weights, wants, strict=True) if want)
    for index in sorted((one for one in range(len(wants)) if wants[one]), key=lambda one: wants[one] / weights[one]):
        given[index] = min(wants[index], room * weights[index] / weight)
        room -= given[index]
        weight -= weights[index]
    return given


def _poisson(source: random.Random, mean: float) -> int:
    if mean > NORMAL_FROM:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, drawn, product = math.exp(-mean), 0, source.random()
    while product > limit:
        product *= source.random()
        drawn += 1
    return drawn
