"""Messages of all kinds between a paho client behind the proxy and one at the broker.

    paho_roundtrip.py TRANSPORT PROXY_PORT BROKER_PORT [CA CERT KEY]      TRANSPORT: tcp or websockets

With a CA, the proxy is reached by TLS; with a certificate and its key, these are shown to it.

Prints "ok", or ends with an exception. All three versions of MQTT, QoS 0 to 2, payloads from
nothing to 1 MiB, both ways; retained messages, unsubscribing, and the properties of MQTT 5.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TRANSPORT, PROXY_PORT, BROKER_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
TLS = sys.argv[4:]
PATIENCE = 30
SIZES = [0, 1, 1024, 64 * 1024, 1024 * 1024]
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


def payload(size):
    """Bytes of all values, so that nothing can take them for text."""
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


class Client:
    """A connected client whose events are waited for."""

    def __init__(self, name, version, transport, port):
        self.version = version
        self.events = {kind: queue.Queue() for kind in ("connect", "subscribe", "unsubscribe", "publish")}
        self.messages = queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, transport=transport
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if TLS and port == PROXY_PORT:
            self.client.tls_set(*TLS)
        self.client.on_connect = lambda c, u, flags, code, props: self.events["connect"].put((code, props))
        self.client.on_subscribe = lambda c, u, mid, codes, props: self.events["subscribe"].put(codes)
        self.client.on_unsubscribe = lambda c, u, mid, codes, props: self.events["unsubscribe"].put(codes)
        self.client.on_publish = lambda c, u, mid, code, props: self.events["publish"].put(code)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.connect("127.0.0.1", port, keepalive=60)
        self.client.loop_start()
        code, self.properties = self.event("connect")
        assert not code.is_failure, code

    def event(self, kind):
        return self.events[kind].get(timeout=PATIENCE)

    def subscribe(self, topic, qos, properties=None):
        self.client.subscribe(topic, qos, properties=properties)
        (code,) = self.event("subscribe")
        assert code.value == qos, code

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.event("unsubscribe")

    def publish(self, topic, body, qos, retain=False, properties=None):
        self.client.publish(topic, body, qos, retain, properties)
        code = self.event("publish")
        assert not code.is_failure, code

    def expect(self, topic, body, qos, retain=False):
        message = self.messages.get(timeout=PATIENCE)
        found = (message.topic, message.qos, message.retain, len(message.payload))
        assert found == (topic, qos, retain, len(body)), (found, topic, qos, retain, len(body))
        assert message.payload == body
        return message

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        assert self.messages.empty(), self.messages.get()


def messages(label, device, service):
    """QoS 0 to 2, all sizes, both ways."""
    for qos in (0, 1, 2):
        up, down = f"{label}/up/{qos}", f"{label}/down/{qos}"
        service.subscribe(up, qos)
        device.subscribe(down, qos)
        for size in SIZES:
            body = payload(size)
            device.publish(up, body, qos)
            service.expect(up, body, qos)
            service.publish(down, body, qos)
            device.expect(down, body, qos)


def retained(label, device, service):
    """What the device leaves behind is there for the other, and the other way round."""
    for name, publisher, subscriber in (("r1", device, service), ("r2", service, device)):
        topic = f"{label}/{name}"
        publisher.publish(topic, b"kept", 1, retain=True)
        subscriber.subscribe(topic, 1)
        subscriber.expect(topic, b"kept", 1, retain=True)
        subscriber.unsubscribe(topic)
        # an empty payload removes it: the next one that comes is another
        publisher.publish(topic, b"", 1, retain=True)
        subscriber.subscribe(topic, 1)
        publisher.publish(topic, b"new", 1)
        subscriber.expect(topic, b"new", 1)
        subscriber.unsubscribe(topic)


def unsubscribed(label, device, service):
    topic, fence = f"{label}/unsub", f"{label}/fence"
    device.subscribe(topic, 1)
    device.subscribe(fence, 1)
    device.unsubscribe(topic)
    service.publish(topic, b"not for you", 1)
    service.publish(fence, b"for you", 1)
    device.expect(fence, b"for you", 1)


def version_5(label, device, service):
    """Properties arrive as they were sent, both ways; topic aliases are understood."""
    subscription = Properties(PacketTypes.SUBSCRIBE)
    subscription.SubscriptionIdentifier = 77
    for name, publisher, subscriber in (("p1", device, service), ("p2", service, device)):
        topic = f"{label}/{name}"
        subscriber.subscribe(topic, 2, properties=subscription)
        sent = Properties(PacketTypes.PUBLISH)
        sent.UserProperty = [("a", "1"), ("a", "2"), ("grüße", "✓")]
        sent.ContentType = "text/plain"
        sent.ResponseTopic = f"{label}/answers"
        sent.CorrelationData = b"\x00\xff"
        sent.PayloadFormatIndicator = 1
        sent.MessageExpiryInterval = 600
        publisher.publish(topic, b"with properties", 2, properties=sent)
        got = subscriber.expect(topic, b"with properties", 2).properties
        for field in ("UserProperty", "ContentType", "ResponseTopic", "CorrelationData", "PayloadFormatIndicator"):
            assert getattr(got, field) == getattr(sent, field), (field, got)
        assert 590 <= got.MessageExpiryInterval <= 600, got
        assert got.SubscriptionIdentifier == [77], got
        subscriber.unsubscribe(topic)

    assert device.properties.TopicAliasMaximum >= 1, device.properties
    topic = f"{label}/alias"
    service.subscribe(topic, 1)
    alias = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 1
    device.publish(topic, b"binds", 1, properties=alias)
    service.expect(topic, b"binds", 1)
    device.publish("", b"uses", 1, properties=alias)
    service.expect(topic, b"uses", 1)
    assert not hasattr(Client("", mqtt.MQTTv5, TRANSPORT, PROXY_PORT).properties, "ServerKeepAlive")


for label, version in VERSIONS.items():
    device = Client(f"paho-device-{label}", version, TRANSPORT, PROXY_PORT)
    service = Client(f"paho-service-{label}", mqtt.MQTTv5 if label == "5" else version, "tcp", BROKER_PORT)
    label = f"paho/{TRANSPORT}/{label}"
    messages(label, device, service)
    retained(label, device, service)
    unsubscribed(label, device, service)
    if version == mqtt.MQTTv5:
        version_5(label, device, service)
    device.close()
    service.close()
print("ok")
