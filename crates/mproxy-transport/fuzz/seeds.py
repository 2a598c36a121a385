#!/usr/bin/env python3
"""Writes a seed corpus for each target from the hostile cases of the codec's tests."""

import hashlib
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
corpus = pathlib.Path(sys.argv[1])
cases = json.loads((here / "../../mproxy-codec/tests/data/hostile.json").read_text())


def packet(case):
    if "parts" in case:
        return b"".join(bytes.fromhex(part) * times for part, times in case["parts"])
    return bytes.fromhex(case.get("hex", ""))


def put(target, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def frame(first, payload, key=b"\x37\xfa\x21\x3d"):
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    head = bytes([first, head[0] | (0x80 if key else 0)]) + head[1:] + key
    return head + bytes(byte ^ key[at % 4] if key else byte for at, byte in enumerate(payload))


REQUEST = (b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")
for lines in [b"", b"Sec-WebSocket-Protocol: mqtt\r\n", b"Sec-WebSocket-Protocol: chat, mqttv3.1\r\n",
              b"Sec-WebSocket-Protocol: mqtt\r\nOrigin: null\r\n", b"Content-Length: 3\r\n",
              b"Sec-WebSocket-Protocol: mqtt\r\nTransfer-Encoding: chunked\r\n",
              b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"]:
    for cut in (b"\xff\xff", b"\x04\x10"):
        put("upgrade", cut + REQUEST + lines + b"\r\n" + frame(0x82, b"early"))
V2 = b"\r\n\r\n\0\r\nQUIT\n"
for header in [b"PROXY UNKNOWN\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 1883\r\n",
               b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", V2 + b"\x20\0\0\0", V2 + b"\x21\x31\0\xd8" + b"\0" * 216,
               V2 + b"\x21\x11\0\x0f" + b"\x01" * 12 + b"\x04\0\0", V2 + b"\x21\x21\0\x24" + b"\x01" * 36,
               V2 + b"\x21\x11\0\x22" + b"\x01" * 12 + b"\x20\0\x0b\x07\0\0\0\0\x22\0\x03cn1\x02\0\x05a.bcd"]:
    put("proxy", b"\x10" + header + b"\x10\x0c\0\x04MQTT")
for case in cases:
    data = packet(case)
    if len(data) > 4096:
        continue
    if case["state"] in ("tcp", "proxy"):
        put("proxy", b"\x20" + data)
    if case["state"] in ("ws", "tcp"):
        put("upgrade", b"\xff\xff" + data)
    elif case["state"] == "ws_open":
        put("frames", b"\x00\x01\x07\x03" + data)
    elif case["dir"] != "transport" and data:
        put("frames", b"\x00\x01\x07\x03" + frame(0x82, data))
# what OpenSSL says for TLS 1.3 and 1.2
HELLOS = [bytes.fromhex(it) for it in (
    "16030100de010000da0303fb735b8c8f17f42c0c1aa5b807f8ef799c0eb54c4d9f27365d0dec6eb97eb20920e88e6a8ae63156fd"
    "4193e7894f5a5bd98fddd1badb10d6f43e80236e90fc10fd000813021303130100ff0100008900000010000e00000b62726f6b65"
    "722e74657374000b000403000102000a00040002001d002300000016000000170000000d001e001c040305030603080708080809"
    "080a080b080408050806040105010601002b0003020304002d00020101003300260024001d002039a3ec135316a4682d0026214a"
    "af5b07ca001c52e50456304d3ac00562ab0967",
    "16030100c3010000bf0303359116dfda9d34f64709de62b9afcc9daee320b0640f9e86735c61b3c366a761000038c02cc030009f"
    "cca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff0100"
    "005e00000010000e00000b62726f6b65722e74657374000b000403000102000a00040002001d002300000016000000170000000d"
    "002a0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602")]
# who can verify no signature of the key
HELLOS.append(HELLOS[0].replace(b"\x1c\x04\x03", b"\x1c\x04\x14"))
for hello in HELLOS:
    for behind in (b"", b"\x14\x03\x03\0\x01\x01" + b"\x17\x03\x03\0\x40" + b"x" * 64, hello):
        for cut in (b"\xff\xff", b"\0\x03"):
            put("tls", b"\0" + cut + b"\0\0\0" + hello + behind)
for plan in (b"\x02\x09\xff\xff\x02\x00\x07\x05", b"\x09\x05\x01\x00\x09\x05\x01\x00\x30\x40", b"\xff\xff" * 8):
    for change in (b"\0\0\0", b"\x01\x07\x80"):
        for cut in (b"\xff\xff", b"\0\0", b"\x02\x40"):
            put("tls", b"\x01" + cut + change + plan)
for plan in (b"", b"\0\0\x30", b"\0\x40\x7f", b"\0\x80\x39\0\x90\xa0"):
    for mode in (b"\x01", b"\x02"):
        put("ocsp", mode + plan)
# the whole of a good answer, about another certificate; and the part that would be signed
OCSP = bytes.fromhex("308190a216041400112233445566778899aabbccddeeff00112233180f32303235303631353030303030305a3065306330"
                     "3c300906052b0e03021a0500041400112233445566778899aabbccddeeff00112233041400112233445566778899aabbcc"
                     "ddeeff001122330203010203" "8000180f32303235303631353030303030305aa011180f32303235303631363030303030305a")
for mode in (b"\0", b"\x03"):
    put("ocsp", mode + OCSP)
put("ocsp", b"\0" + bytes.fromhex("30030a0103"))
for select, key in ((0, b"\x37\xfa\x21\x3d"), (1, b"")):
    parts = [frame(0x02, b"frag", key), frame(0x89, b"ping", key), frame(0x80, b"ment", key),
             frame(0x82, b"x" * 300, key), frame(0x8a, b"", key), frame(0x88, b"\x03\xe8bye", key)]
    put("frames", bytes([select, 2, 5, 9]) + b"".join(parts))
