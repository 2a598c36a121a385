#!/usr/bin/env python3
"""Writes a seed corpus from the hostile cases of the codec's tests, as op.rs reads it."""

import hashlib
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
corpus = pathlib.Path(sys.argv[1])
cases = json.loads((here / "../../mproxy-codec/tests/data/hostile.json").read_text())
versions = {"3.1": 0, "3.1.1": 1, "5.0": 2}
folder = corpus / "session"
folder.mkdir(parents=True, exist_ok=True)


def packet(case):
    if "parts" in case:
        return b"".join(bytes.fromhex(part) * times for part, times in case["parts"])
    return bytes.fromhex(case.get("hex", ""))


def raw(from_client, data):
    return bytes([2 if from_client else 0x82]) + len(data).to_bytes(2, "little") + data


def put(data):
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


ANSWERS = bytes([11, 7, 0x8B, 7])
for case in cases:
    data = packet(case)
    if case["dir"] == "transport" or not data or len(data) > 4096:
        continue
    from_client = case["dir"] == "c2s"
    # hooks that want heads only, refusals that disconnect, to the letter, and all other choices
    for flags in (0, 2, 4, 6, 8, 26, 32):
        start = bytes([versions[case["version"]], flags | (case["state"] == "new"), 10])
        put(start + raw(from_client, data) + ANSWERS)
        # byte by byte, with time between
        pieces = bytes([4 if from_client else 0x84, 1, 1, 1, 1])
        put(start + pieces + raw(from_client, data) + bytes([8, 0xE8, 3]) + ANSWERS)

# honest talk: a packet of each kind of both ends, held and released, answered
PUBLISH = [bytes([0x10, 0, level, 1, qos, 3, alias, 5]) for level in range(10)
           for qos in range(3) for alias in (0, 1, 9)]
for version in range(3):
    for flags in (0, 2, 8, 26, 32):
        start = bytes([version, flags, 10])
        for publish in PUBLISH:
            from_broker = bytes([0x90]) + publish[1:]
            release = bytes([3, 1, 0x83, 1])
            put(start + publish + from_broker + release + ANSWERS * 2 + publish + ANSWERS)
        subscribe = bytes([0x10, 6, 2, 4, 0, 1, 3, 0])
        put(start + subscribe + ANSWERS + bytes([0x10, 8]) + subscribe[2:] + ANSWERS)
        # one identifier again and again, then the answers
        put(start + subscribe * 4 + ANSWERS * 4)
        # DUP at QoS 0 in both directions, flags that MQTT 3.1 does not use, a drain with a notice
        slip = bytes([0, 0, 1, 0x81, 3, 0, 5])
        put(start + bytes([0x10]) + slip + bytes([0x90]) + slip + ANSWERS)
        for unused in range(16):
            put(start + bytes([0x10, 14, unused, 1, 1, 3]) + ANSWERS + bytes([10]))
