"""The tutorial's two FastAPI programs: an async generator, and a blocking queue filled by a background task.

As in the tutorial, with `data: ` lines added so that an EventSource would see the tokens; uvicorn with uvloop and
httptools, no access log. The corpus is written by the runner to the file in CORPUS, for Python must send the same text.
"""

import asyncio
import gc
import json
import os
import queue
import signal
import time

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

PERIOD_MS = 20
with open(os.environ["CORPUS"], encoding="utf-8") as corpus:
    CUTS = json.load(corpus)
TEXT = "".join(CUTS)
BOUNDS = []
for word in CUTS:
    start = BOUNDS[-1][1] if BOUNDS else 0
    BOUNDS.append((start, start + len(word)))

app = FastAPI()


def token_at(index):
    start, end = BOUNDS[index % len(BOUNDS)]
    return TEXT[start:end]


def stamp(scheduled):
    return "@%09d" % (int(scheduled * 1000) % 1_000_000_000)


class Wheel:
    """The same wheel as the JavaScript subjects': a tick every millisecond, a twentieth of the streams at each."""

    def __init__(self):
        self.slots = [[] for _ in range(PERIOD_MS)]
        self.streams = 0
        self.tick = int(time.time() * 1000) + 1
        self.loop = asyncio.get_running_loop()
        self.turn()

    def turn(self):
        now = time.time() * 1000
        while self.tick <= now:
            slot = self.tick % PERIOD_MS
            due, self.slots[slot] = self.slots[slot], []
            for future in due:
                if not future.done():
                    future.set_result(min(now, self.tick + 1))
            self.tick += 1
        self.loop.call_later(max(0.0, self.tick / 1000 - time.time()), self.turn)

    async def tokens(self, n):
        slot = self.streams % PERIOD_MS
        self.streams += 1
        due = -(-(self.tick + 1 - slot) // PERIOD_MS) * PERIOD_MS + slot
        for _ in range(n):
            if due >= self.tick:
                future = self.loop.create_future()
                self.slots[slot].append(future)
                yield stamp(await future)
            else:
                yield stamp(due)
            due += PERIOD_MS


wheel = None


async def produce(shape, n):
    global wheel
    if shape == "paced":
        wheel = wheel or Wheel()
        async for token in wheel.tokens(n):
            yield token
    elif shape == "idle":
        yield token_at(0)
        await asyncio.get_running_loop().create_future()
    else:
        for index in range(n):
            yield token_at(index)


async def events(shape, n):
    async for token in produce(shape, n):
        yield f"data: {token}\n\n"


class StreamIterator:
    """The tutorial's queue between callbacks and the response."""

    def __init__(self):
        self.queue = queue.Queue()

    def send(self, data):
        self.queue.put(data)

    def close(self):
        self.queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        data = self.queue.get()
        if data is None:
            raise StopIteration
        return data


async def main_process(iterator, shape, n):
    try:
        async for token in produce(shape, n):
            iterator.send(f"data: {token}\n\n")
    except Exception as error:  # as the tutorial does
        print(error)
    finally:
        iterator.close()


@app.get("/")
@app.post("/")
async def streaming(shape: str = "generator", n: int = 1000):
    return StreamingResponse(events(shape, n), media_type="text/event-stream")


@app.get("/queue")
@app.post("/queue")
async def streaming_queue(shape: str = "generator", n: int = 1000):
    iterator = StreamIterator()
    asyncio.create_task(main_process(iterator, shape, n))
    return StreamingResponse(iterator, media_type="text/event-stream")


@app.on_event("startup")
async def ready():
    signal.signal(signal.SIGUSR2, lambda *_: gc.collect())
    print(f"ready {os.environ['PORT']}", flush=True)


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="error")
