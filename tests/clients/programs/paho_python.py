"""The Python client of Eclipse Paho: paho_python.py GENERATION VERSION

GENERATION is 1 or 2; 1 is found beside the virtual environment. VERSION is 3.1, 3.1.1 or 5.
"""

import sys
from pathlib import Path

import stage

GENERATION, VERSION = sys.argv[1:]
if GENERATION == "1":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "target/tools/paho1"))

import paho.mqtt.client as mqtt  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402

PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[VERSION]
V5 = PROTOCOL == mqtt.MQTTv5
assert mqtt.__file__.count("paho1") == (GENERATION == "1"), mqtt.__file__


def value(code):
    return getattr(code, "value", code)


class Commands:
    def open(self, port, id, password, keep_alive, will, filter, qos):
        options = {"client_id": id, "protocol": PROTOCOL}
        if not V5:
            options["clean_session"] = False
        if GENERATION == "2":
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
        client = mqtt.Client(**options)
        client.username_pw_set(stage.USER, password)
        client.will_set(will, "will", 1)
        client.up = client.closing = False

        def on_connect(_client, _data, flags, code, *properties):
            if value(code) != 0:
                stage.say("refused", value(code))
                return
            client.up = True
            session = flags["session present"] if GENERATION == "1" else flags.session_present
            stage.say("connected session", int(session), *(str(it) for it in properties if V5))
            client.subscribe(filter, qos)

        def on_disconnect(_client, _data, *rest):
            if GENERATION == "2":
                told = rest[0].is_disconnect_packet_from_server
            else:
                # a number when the connection broke, a reason when the server gave one
                told = not isinstance(rest[0], int)
            if told:
                stage.say("told to disconnect", value(rest[-2 if V5 else -1]))
            if client.up and not client.closing:
                stage.say("disconnected")
            client.up = False

        def on_subscribe(_client, _data, _mid, codes, *_properties):
            stage.say("subscribed", ",".join(str(value(code)) for code in codes))

        def on_publish(*_arguments):
            self.left -= 1
            if self.left == 0:
                stage.say(*self.published)

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_subscribe = on_subscribe
        client.on_publish = on_publish
        client.on_message = lambda _client, _data, it: stage.message(it.topic, it.qos, it.retain, it.payload)
        properties = {}
        if V5:
            connect = Properties(PacketTypes.CONNECT)
            connect.SessionExpiryInterval = 300
            properties = {"clean_start": False, "properties": connect}
        client.connect("127.0.0.1", port, keep_alive, **properties)
        client.loop_start()
        self.client = client

    def publish(self, topic, qos, retain, payload):
        self.send([(topic, payload, qos, retain)], ("published", qos))

    def burst(self, topic, count):
        messages = [(topic, str(number), 1, False) for number in range(1, count + 1)]
        self.send(messages, ("burst published", count))

    def send(self, messages, done):
        # before the first callback can come
        self.left, self.published = len(messages), done
        for message in messages:
            self.client.publish(*message)

    def close(self):
        self.client.closing = True
        self.client.disconnect()
        # waits for its thread
        self.client.loop_stop()
        stage.say("closed")


stage.perform(Commands())
