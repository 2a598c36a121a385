#!/usr/bin/env python3
"""Writes a seed corpus for each target from ../tests/data/hostile.json."""

import hashlib
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
corpus = pathlib.Path(sys.argv[1])
cases = json.loads((here / "../tests/data/hostile.json").read_text())
versions = {"3.1": 0, "3.1.1": 1, "5.0": 2}

TOPICS = ["a/b", "a/+", "#", "+/#", "$SYS/#", "$share/g/a/#", "a//b", "/", "é/+", "a/b/c/d/#"]
FIELDS = [b"client", b"\x26\0\x01k\0\x01v", b"plant-7/a"]


def packet(case):
    if "parts" in case:
        return b"".join(bytes.fromhex(part) * times for part, times in case["parts"])
    return bytes.fromhex(case.get("hex", ""))


def put(target, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


for case in cases:
    data = packet(case)
    if case["dir"] == "transport" or not data or len(data) > 4096:
        continue
    # how support.rs reads version and direction
    select = bytes([versions[case["version"]] * 2 + (case["dir"] == "s2c")])
    put("head", data)
    put("packet", select + data)
    put("encode", select + data)
    put("stream", select + b"\x03\x01\x05\x02" + data + data)
    if data[0] >> 4 in (1, 3) and len(data) < 200:  # CONNECT, PUBLISH
        for field in FIELDS:
            for operation in range(12):
                put("rewrite", select + bytes([operation, len(field)]) + field + data)
for one in TOPICS:
    for two in TOPICS:
        put("topic", "\n".join([one, two, "a/b"]).encode())
