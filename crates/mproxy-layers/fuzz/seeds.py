#!/usr/bin/env python3
"""Writes a seed corpus for each target: the known ways around rules, and the topics of the hostile
cases of the codec's tests."""

import hashlib
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
corpus = pathlib.Path(sys.argv[1])
cases = json.loads((here / "../../mproxy-codec/tests/data/hostile.json").read_text())

TOPICS = ["a", "a/b", "a/secret", "denied/x", "a//b", "/", "/a", "$SYS/x", "users/u/key", "caf\u00e9"]
FILTERS = ["#", "+/#", "/#", "+", "a/+", "a/#", "+/secret", "$share/g/denied/#", "$share/g/a/+",
           "$queue/a", "$SYS/#", "denied/+", "users/+/key", "a/b"]
NAMES = [("c", "=u"), ("#", "=+"), ("", ""), ("a/b", "="), ("$SYS", "=$share")]
# effect and actions are bits of the letter: 8 deny, 4 deliver, 2 subscribe, 1 publish
RULES = ["gdenied/#\noa/secret", "o${username}/#\nga/+", "gusers/${username}/#\nc#", "od/#\ng#\nn+/x",
         "o/#\ng+/+", "k$SYS/#\ng$SYS/a/#", "nusers/${client_id}/key"]
MAPS = [">t/", ">tenants/${username}/", ">${client_id}/", ">/", ">a//", "news/!public/\n>t/${username}/",
        "a/>x/\nb/>y/\n/>/", "a/b/>a/\na/>b/", ">${username}/${client_id}/", "a/>a/${client_id}/\n>t/a-${username}/",
        "a/b/>t/${username}/b/\na/>t/${username}/a/", ">${username}${client_id}/"]


def put(target, text):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


LAYERS = ["a", "m", "am", "ma", "aima", "pami", "iap5", "mipa5", "a5!", "ma5!", "am3", "i", "mm", "aa5", "aq", "maq", "amq", "pmaiq!", "an", "man"]
CHAIN_RULES = ["bd/${client_id}/#\tbnews/#", "ptenants/acme/#\tsnews/+", "b#", "b#\tPsecret", "bt/acme/d/#\tba/+",
               "n+/secret\tb#", "b${username}/#"]
CHAIN_MAPS = [">tenants/${username}/", "news/>public/\t>t/${username}/", "a/b/>t/${username}/b/\ta/>t/${username}/a/"]
CLIENTS = [("acme", "c"), ("acme", "acme:c"), ("", "c"), ("a", "acme")]
SENT = ["p0a/b\np1d/c/x\np2a/secret", "A1d/c/x\na1\nA1a/secret\na1", "sd/c/# a/+\nud/c/#", "s$share/g/# +/#\np0news/x",
        "x3003000161", "p0d.c.x\\np0news.x\\nsd.c.*\\ns*/x\\np0secret.x", "p0tenants/acme/x\nsnews/+\nst/acme/d/a", "e", "p1a/secret\ns#", "p0$SYS/x\ns$SYS/#"]

found = set()
for case in cases:
    data = bytes.fromhex(case.get("hex", ""))
    for word in data.split(b"\0"):
        # the byte before is the end of the length
        if b"/" in word[1:] and len(word) < 60 and word[1:].isascii():
            found.add(word[1:].decode().split("\n")[0])
for rules in RULES:
    for client_id, username in NAMES:
        for topic in TOPICS:
            for filter in FILTERS:
                put("acl", "\n".join([client_id, username, topic, filter, rules]))
OTHERS = [("c", "u"), ("u", "c"), ("c:d", "%"), ("a/b", "+")]
DIALECTS = ["", "amqp", "", "nats"]
DOLLARS = ["$queue/a/#", "$oshare/g/a", "$delayed/5/a", "$exclusive/+", "$share/c:g/#"]
for rules in MAPS:
    for at, (username, client_id) in enumerate(OTHERS):
        other = OTHERS[at - 1]
        for topic in TOPICS[:6] + sorted(found)[::80]:
            for filter in FILTERS[::3] + DOLLARS:
                dialect = "$" if filter in DOLLARS else DIALECTS[at % len(DIALECTS)]
                lines = [dialect, username, client_id, *other, filter, topic, rules]
                put("map", "\n".join(lines))
for at, layers in enumerate(LAYERS):
    for place, rules in enumerate(CHAIN_RULES):
        for map in CHAIN_MAPS:
            for sent in SENT:
                username, client_id = CLIENTS[(at + place) % len(CLIENTS)]
                will = TOPICS[(at + place) % len(TOPICS)] if place % 2 else "d/c/gone"
                put("chain", "\n".join([layers, rules, map, username, client_id, will, sent]))
