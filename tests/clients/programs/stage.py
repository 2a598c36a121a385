"""What every program of this folder has in common: commands in, events out. See stage.js."""

import json
import sys
import threading

USER = "device"

_printing = threading.Lock()


def _print(*words):
    with _printing:
        print(*words, flush=True)


def say(*words):
    _print("event", *words)


def note(*words):
    _print("note", *words)


def message(topic, qos, retain, payload):
    text = bytes(payload).decode() or "(empty)"
    say("message", topic, int(qos), "retained" if retain else "new", text)


def perform(commands):
    """Calls the method of each command that comes."""
    for line in sys.stdin:
        arguments = json.loads(line)
        getattr(commands, arguments.pop("do"))(**arguments)


async def perform_async(commands):
    """The same, for methods that are coroutines; they run beside each other."""
    import asyncio

    loop = asyncio.get_running_loop()
    running = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        arguments = json.loads(line)
        task = asyncio.create_task(getattr(commands, arguments.pop("do"))(**arguments))
        running.add(task)
        task.add_done_callback(running.discard)
