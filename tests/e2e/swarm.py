"""Many HTTP connections from a few processes: open event streams, callers that never rest, pollers.

Each part runs in a process of its own, so that the latency that is measured is not that of a busy
client. Nothing here knows the gateway's objects: only URLs, keys and bodies.
"""
import asyncio
import json
import multiprocessing
import random
import ssl
import time
import urllib.parse

CONTEXT = multiprocessing.get_context("fork")


class Target:
    """Where the gateway is, as a child process needs to know it."""

    def __init__(self, gateway):
        parts = urllib.parse.urlsplit(gateway.url)
        self.host, self.port, self.key = parts.hostname, parts.port, gateway.admin_key
        self.ca = gateway.ca if parts.scheme == "https" else None

    async def connect(self):
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
        return reader, writer

    def head(self, method, path, more=""):
        return (f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                f"Authorization: Bearer {self.key}\r\n{more}")


class Caller:
    """One kept connection; `seconds` are the times its requests took."""

    def __init__(self, target):
        self.target, self.streams = target, None
        self.seconds = {}  # by method
        self.statuses = {}

    async def call(self, method, path, body=b"", kind="application/json", headers=""):
        if not self.streams:
            self.streams = await self.target.connect()
        reader, writer = self.streams
        more = headers
        if body:
            more += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        start = time.monotonic()
        writer.write(self.target.head(method, path, more + "\r\n").encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0]) \
            if "content-length:" in head else 0
        answer = await reader.readexactly(length)
        self.seconds.setdefault(method, []).append(time.monotonic() - start)
        status = int(head.split(" ")[1])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if "connection: close" in head:
            writer.close()
            self.streams = None
        return status, answer


class Part:
    """A coroutine function in a process of its own; what it returns comes back by result()."""

    def __init__(self, body, *arguments):
        self.ours, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=self._run, args=(theirs, body, arguments), daemon=True)
        self.process.start()

    @staticmethod
    def _run(pipe, body, arguments):
        pipe.send(asyncio.run(body(pipe, *arguments)))

    def wait_ready(self, seconds=120):
        assert self.ours.poll(seconds), "a part of the swarm did not come up"
        said = self.ours.recv()
        assert said == "ready", said

    def stop(self):
        self.ours.send("stop")

    def result(self, seconds=60):
        assert self.ours.poll(seconds), "a part of the swarm did not end"
        got = self.ours.recv()
        self.process.join(10)
        return got


async def _stopped(pipe):
    while not pipe.poll():
        await asyncio.sleep(0.02)


async def hold_streams(pipe, target, job_ids, n):
    """n event streams of the jobs, until it is told to stop: {"open", "ended", "bytes"}."""
    gate = asyncio.Semaphore(16)
    count = {"open": 0, "ended": 0, "bytes": 0}

    async def follow(i):
        async with gate:
            reader, writer = await target.connect()
            path = f"/v1/jobs/{job_ids[i % len(job_ids)]}/events"
            writer.write(target.head("GET", path, "\r\n").encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.split(b"\r\n")[0], head
            await reader.readuntil(b"\n\n")  # its first event
            count["open"] += 1
        while part := await reader.read(65536):
            count["bytes"] += len(part)
        count["ended"] += 1

    tasks = [asyncio.create_task(follow(i)) for i in range(n)]
    while count["open"] < n:
        for task in tasks:
            if task.done() and task.exception():
                raise task.exception()
        await asyncio.sleep(0.05)
    pipe.send("ready")
    await _stopped(pipe)
    result = dict(count)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


def _figures(callers):
    statuses = {}
    for caller in callers:
        for status, n in caller.statuses.items():
            statuses[status] = statuses.get(status, 0) + n
    methods = {method for caller in callers for method in caller.seconds}
    return {"statuses": statuses, "seconds": {
        method: sorted(s for c in callers for s in c.seconds.get(method, []))
        for method in sorted(methods)}}


class Writers:
    """Callers that write. work: polls [path], puts [(path with %d, body)], share_put, share_report,
    reporters (objects with `ask`, the body that asks for a challenge, and body(answer), its report);
    the rest are polls, one in four a challenge."""

    def __init__(self, target, n, work):
        self.callers = [Caller(target) for _ in range(n)]
        self.work, self.stock, self.committed = work, [], 0
        self.numbers = iter(range(1 << 30))

    async def challenge(self, caller):
        reporter = random.choice(self.work["reporters"])
        _, answer = await caller.call("POST", "/v1/attestation/challenges", reporter.ask)
        return reporter.body(answer)

    async def prepare(self, n):
        """n reports ahead, so that a report is one request."""
        async def some(caller):
            while len(self.stock) < n:
                self.stock.append(await self.challenge(caller))

        await asyncio.gather(*(some(c) for c in self.callers))
        for caller in self.callers:
            caller.seconds.clear(), caller.statuses.clear()

    async def put(self, caller):
        i = next(self.numbers)
        path, body = random.choice(self.work["puts"])
        status, _ = await caller.call("PUT", path % i, body, headers=f'Idempotency-Key: "s-{i}"\r\n')
        self.committed += status == 202

    async def report(self, caller):
        head, tail = self.stock.pop() if self.stock else await self.challenge(caller)
        status, _ = await caller.call("POST", "/v1/attestation/reports", head + tail, "application/cbor")
        self.committed += status == 200

    async def one(self, caller):
        dice = random.random()
        if dice < self.work["share_put"]:
            await self.put(caller)
        elif dice < self.work["share_put"] + self.work["share_report"]:
            await self.report(caller)
        elif random.random() < 0.25:
            await self.challenge(caller)
        else:
            await caller.call("GET", random.choice(self.work["polls"]))


async def write(pipe, target, n, work, rest):
    """n callers side by side, each resting up to `rest` seconds after each request; the figures, and how
    many of the requests were answered after a commit of their own."""
    writers = Writers(target, n, work)
    stop = asyncio.Event()

    async def run(caller):
        while not stop.is_set():
            await asyncio.wait_for(writers.one(caller), 30)
            await asyncio.sleep(random.random() * rest)

    await writers.prepare(max(n, work["stock"]))  # handshakes as well, which are no requests
    tasks = [asyncio.create_task(run(c)) for c in writers.callers]
    pipe.send("ready")
    await _stopped(pipe)
    stop.set()
    await asyncio.gather(*tasks)
    return {**_figures(writers.callers), "committed": writers.committed}


async def poll(pipe, target, n, path, rest):
    """n callers that ask the same again and again."""
    callers = [Caller(target) for _ in range(n)]
    stop = asyncio.Event()

    async def run(caller):
        await caller.call("GET", path)
        caller.seconds.clear()
        while not stop.is_set():
            await asyncio.wait_for(caller.call("GET", path), 30)
            await asyncio.sleep(rest)

    tasks = [asyncio.create_task(run(c)) for c in callers]
    pipe.send("ready")
    await _stopped(pipe)
    stop.set()
    await asyncio.gather(*tasks)
    return _figures(callers)
