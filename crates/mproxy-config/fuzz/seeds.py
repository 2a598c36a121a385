#!/usr/bin/env python3
"""Writes a seed corpus from the configurations of the repository, whole and table by table."""

import hashlib
import pathlib
import sys
import re

here = pathlib.Path(__file__).resolve().parent
corpus = pathlib.Path(sys.argv[1])
folder = corpus / "config"
folder.mkdir(parents=True, exist_ok=True)


def put(text):
    data = text.encode()
    if len(data) < 8192:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


for file in sorted((here / "../../../config").glob("*.toml")):
    text = file.read_text()
    put(text)
    # with the examples that are off, and without explanations
    text = re.sub(r"^#(?=\S)", "", text, flags=re.M)
    text = re.sub(r"^# .*\n", "", text, flags=re.M)
    put(text)
    for table in re.split(r"\n(?=\[)", text):
        put(table)
        put(table + "\n--set\nlisteners.mqtt.limits.packet_timeout=5s\nadmin.bind=\nx\n")
for text in ["", "version = 2", "[server]\nworker_threads = -1", "[listeners]\n", "x = ${env:NAME:-y}",
             'log.level = "${env:NAME:-off}"', "[[listeners]]\nname = \"\\u0000\"\n", "a = [1, {b = 2}]"]:
    put(text)
