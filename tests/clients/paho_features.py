"""What a paho client can do with a broker, by one way after another.

    paho_features.py BROKER_PORT VERSION,... CANNOT,... WAY=TRANSPORT:PORT...

VERSION: 3.1, 3.1.1 or 5; TRANSPORT: tcp or websockets. CANNOT: features that the broker does not
have, or "-": they are tried, but not waited for very long; those with a "!" before them are not
tried, because they would disturb the others. The client comes by each way in turn; its counterpart
is always at the broker itself.

Prints a line for each: "VERSION WAY FEATURE: ok", or what went wrong instead of "ok".
"""

import os
import queue
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

BROKER_PORT = int(sys.argv[1])
CANNOT = sys.argv[3].split(",")
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
PATIENCE, SHORT = 25, 2


class Client:
    """A connected client whose events are waited for."""

    def __init__(self, case, name, transport, port, will=None, keep=False):
        self.patience = case.patience
        v5 = case.version == mqtt.MQTTv5
        self.events = {kind: queue.Queue() for kind in ("connect", "disconnect", "subscribe", "unsubscribe", "publish")}
        self.messages = queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=case.version,
            transport=transport,
            reconnect_on_failure=False,
            **({} if v5 else {"clean_session": not keep}),
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set(*will)
        self.client.on_connect = lambda c, u, flags, code, props: self.events["connect"].put((flags, code))
        self.client.on_disconnect = lambda c, u, flags, code, props: self.events["disconnect"].put(code)
        self.client.on_subscribe = lambda c, u, mid, codes, props: self.events["subscribe"].put(codes)
        self.client.on_unsubscribe = lambda c, u, mid, codes, props: self.events["unsubscribe"].put(codes)
        self.client.on_publish = lambda c, u, mid, code, props: self.events["publish"].put(code)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        options = {}
        if v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 60 if keep else 0
            options = {"clean_start": not keep, "properties": properties}
        self.client.connect("127.0.0.1", port, keepalive=60, **options)
        self.client.loop_start()
        self.flags, code = self.event("connect")
        assert not code.is_failure, f"CONNACK {code}"

    def event(self, kind):
        try:
            return self.events[kind].get(timeout=self.patience)
        except queue.Empty:
            raise AssertionError(f"no {kind}") from None

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        (code,) = self.event("subscribe")
        assert code.value == qos, f"granted {code}"

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.event("unsubscribe")

    def publish(self, topic, body, qos=1, retain=False):
        self.client.publish(topic, body, qos, retain)
        code = self.event("publish")
        assert not code.is_failure, f"acknowledged with {code}"

    def expect(self, topic, body, qos=1, retain=False):
        try:
            message = self.messages.get(timeout=self.patience)
        except queue.Empty:
            raise AssertionError("no message") from None
        found = (message.topic[:99], message.qos, message.retain, len(message.payload))
        wanted = (topic[:99], qos, retain, len(body))
        assert found == wanted, f"{found} is not {wanted}"
        assert message.topic == topic and message.payload == body, "not what was sent"

    def lost(self):
        """Breaks the connection off, as a client that dies."""
        if self.client.socket() is not None:
            socket.socket(fileno=os.dup(self.client.socket().fileno())).shutdown(socket.SHUT_WR)

    def close(self):
        self.client.disconnect()
        self.event("disconnect")


class Case:
    """One version by one way, with one feature to be tried."""

    def __init__(self, number, label, way, feature):
        self.number = number
        self.version = VERSIONS[label]
        self.name, place = way.split("=")
        transport, port = place.split(":")
        self.place = (transport, int(port))
        # RabbitMQ takes a full stop for a slash
        self.label = f"py/{label}/{self.name}/{feature}".replace(".", "")
        self.patience = SHORT if feature in CANNOT else PATIENCE
        self.clients = []

    def device(self, name="device", **options):
        return self.client(name, self.place, **options)

    def service(self):
        return self.client("service", ("tcp", BROKER_PORT))

    def client(self, name, place, **options):
        # 23 letters are the most in MQTT 3.1
        client = Client(self, f"py{self.number}-{name}", *place, **options)
        self.clients.append(client)
        return client

    def both_ways(self, qos=1, body=b"\x00\xff", topic=""):
        device, service = self.device(), self.service()
        for name, sender, receiver in (("up", device, service), ("down", service, device)):
            path = f"{self.label}/{name}" + topic
            receiver.subscribe(path, qos)
            sender.publish(path, body, qos)
            receiver.expect(path, body, qos)

    def qos0(self):
        self.both_ways(0)

    def qos1(self):
        self.both_ways(1)

    def qos2(self):
        self.both_ways(2)

    def empty(self):
        self.both_ways(body=b"")

    def large(self):
        self.both_ways(body=bytes(range(256)) * 1024)

    def long_topic(self):
        device, service = self.device(), self.service()
        topic = self.label + "/" + "t" * (65534 - len(self.label))
        service.subscribe(self.label + "/#", 1)
        device.publish(topic, b"x")
        service.expect(topic, b"x")

    def retained(self):
        device, service = self.device(), self.service()
        for name, sender, receiver in (("up", device, service), ("down", service, device)):
            topic = f"{self.label}/{name}"
            sender.publish(topic, b"kept", retain=True)
            receiver.subscribe(topic, 1)
            receiver.expect(topic, b"kept", retain=True)
            receiver.unsubscribe(topic)
            # an empty payload removes it: the next one that comes is another
            sender.publish(topic, b"", retain=True)
            receiver.subscribe(topic, 1)
            sender.publish(topic, b"new")
            receiver.expect(topic, b"new")

    def will(self):
        service = self.service()
        service.subscribe(self.label, 1)
        self.device("leaves", will=(self.label, b"no", 1)).close()
        self.device("dies", will=(self.label, b"will", 1)).lost()
        service.expect(self.label, b"will")

    def takeover(self):
        old, service = self.device(), self.service()
        new = self.device()
        old.event("disconnect")
        service.subscribe(self.label, 1)
        new.publish(self.label, b"new")
        service.expect(self.label, b"new")

    def unsubscribe(self):
        device, service = self.device(), self.service()
        for name in ("gone", "fence"):
            device.subscribe(f"{self.label}/{name}", 1)
        device.unsubscribe(f"{self.label}/gone")
        for name in ("gone", "fence"):
            service.publish(f"{self.label}/{name}", b"x")
        device.expect(f"{self.label}/fence", b"x")

    def persistent(self):
        device, service = self.device(keep=True), self.service()
        device.subscribe(self.label, 1)
        device.close()
        for number in range(3):
            service.publish(self.label, b"%d" % number)
        device = self.device(keep=True)
        for number in range(3):
            device.expect(self.label, b"%d" % number)
        # MQTT 3.1 has no word for it
        assert self.version == mqtt.MQTTv31 or device.flags.session_present, "no session present"


FEATURES = "qos0 qos1 qos2 empty large long_topic retained will takeover unsubscribe persistent".split()


def attempt(number, label, way, feature):
    if "!" + feature in CANNOT:
        return f"{label} {way.split('=')[0]} {feature}: not tried"
    case = Case(number, label, way, feature)
    try:
        getattr(case, feature)()
        result = "ok"
    except Exception as error:
        result = f"{type(error).__name__} {error}".replace("\n", " ")
    finally:
        for client in case.clients:
            try:
                client.lost()
            except OSError:
                pass  # it was lost before
    return f"{label} {case.name} {feature}: {result}"


def main():
    cases = [
        (label, way, feature) for label in sys.argv[2].split(",") for way in sys.argv[4:] for feature in FEATURES
    ]
    # what a broker does not do is waited for at the same time as the rest is done
    with ThreadPoolExecutor(16) as pool:
        for line in pool.map(lambda case: attempt(case[0], *case[1]), enumerate(cases)):
            print(line, flush=True)
    # threads of clients that are still closing are nobody's business
    os._exit(0)


main()
