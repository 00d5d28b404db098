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

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

SLOTS = 20
STAMP_LENGTH = 10
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


class Wheel(asyncio.Protocol):
    """The same wheel as the JavaScript subjects': a token every millisecond, for a twentieth of the streams."""

    def __init__(self):
        self.slots = [[] for _ in range(SLOTS)]
        self.streams = 0
        self.tokens = []
        self.rest = ""

    def data_received(self, data):
        text = self.rest + data.decode("latin1")
        whole = len(text) - len(text) % STAMP_LENGTH
        self.rest = text[whole:]
        for at in range(0, whole, STAMP_LENGTH):
            self.turn(text[at : at + STAMP_LENGTH])

    def turn(self, token):
        slot = len(self.tokens) % SLOTS
        self.tokens.append(token)
        due, self.slots[slot] = self.slots[slot], []
        for future in due:
            if not future.done():
                future.set_result(token)

    async def stream(self, n):
        slot = self.streams % SLOTS
        self.streams += 1
        number = -(-(len(self.tokens) - slot) // SLOTS) * SLOTS + slot
        for _ in range(n):
            if number < len(self.tokens):
                yield self.tokens[number]
            else:
                future = asyncio.get_running_loop().create_future()
                self.slots[slot].append(future)
                yield await future
            number += SLOTS


wheel = Wheel()
connecting = None


async def paced(n):
    global connecting
    if connecting is None:
        connecting = asyncio.get_running_loop().create_connection(lambda: wheel, "127.0.0.1", int(os.environ["PACER"]))
        await connecting
    async for token in wheel.stream(n):
        yield token


async def produce(shape, n):
    if shape == "paced":
        async for token in paced(n):
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
