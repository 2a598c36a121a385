"""The C library of mosquitto, with its own loop that reconnects: libmosquitto.py VERSION

VERSION is 3.1, 3.1.1 or 5. The names are those of mosquitto.h.
"""

import ctypes
import sys
import threading
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int, c_uint32, c_void_p

import stage

VERSION = sys.argv[1]
MOSQ_OPT_PROTOCOL_VERSION = 1
MQTT_PROP_SESSION_EXPIRY_INTERVAL = 17

lib = ctypes.CDLL("libmosquitto.so.1")
lib.mosquitto_new.restype = c_void_p
lib.mosquitto_new.argtypes = [c_char_p, c_bool, c_void_p]
lib.mosquitto_strerror.restype = c_char_p


class Message(ctypes.Structure):
    _fields_ = [
        ("mid", c_int),
        ("topic", c_char_p),
        ("payload", c_void_p),
        ("payloadlen", c_int),
        ("qos", c_int),
        ("retain", c_bool),
    ]


ON_CONNECT = CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_int, c_void_p)
ON_DISCONNECT = CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_void_p)
ON_SUBSCRIBE = CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_int, POINTER(c_int))
ON_PUBLISH = CFUNCTYPE(None, c_void_p, c_void_p, c_int)
ON_MESSAGE = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(Message))


def check(code):
    assert code == 0, lib.mosquitto_strerror(code)


class Client:
    def __init__(self, port, id, password, keep_alive, will, filter, qos):
        self.handle = c_void_p(lib.mosquitto_new(id.encode(), False, None))
        self.up = self.closing = False
        self.left, self.published = 0, ()
        version = {"3.1": 3, "3.1.1": 4, "5": 5}[VERSION]
        check(lib.mosquitto_int_option(self.handle, MOSQ_OPT_PROTOCOL_VERSION, version))
        # the loop runs in a thread, and messages are published from another
        check(lib.mosquitto_threaded_set(self.handle, c_bool(True)))
        check(lib.mosquitto_username_pw_set(self.handle, stage.USER.encode(), password.encode()))
        check(lib.mosquitto_will_set(self.handle, will.encode(), 4, b"will", 1, c_bool(False)))

        def on_connect(_handle, _data, code, flags, _properties):
            if code != 0:
                stage.say("refused", code)
                return
            self.up = True
            stage.say("connected session", flags & 1)
            lib.mosquitto_subscribe(self.handle, None, filter.encode(), qos)

        def on_disconnect(_handle, _data, code, properties):
            # 7: MOSQ_ERR_CONN_LOST; a larger number is of a DISCONNECT
            if code >= 0x80:
                stage.say("told to disconnect", code)
            if self.up and not self.closing:
                stage.say("disconnected")
            self.up = False

        def on_subscribe(_handle, _data, _mid, count, granted):
            stage.say("subscribed", ",".join(str(code) for code in granted[:count]))

        def on_publish(_handle, _data, _mid):
            self.left -= 1
            if self.left == 0:
                stage.say(*self.published)

        def on_message(_handle, _data, message):
            it = message.contents
            stage.message(it.topic.decode(), it.qos, it.retain, ctypes.string_at(it.payload, it.payloadlen))

        self.callbacks = [
            (lib.mosquitto_connect_v5_callback_set, ON_CONNECT(on_connect)),
            (lib.mosquitto_disconnect_v5_callback_set, ON_DISCONNECT(on_disconnect)),
            (lib.mosquitto_subscribe_callback_set, ON_SUBSCRIBE(on_subscribe)),
            (lib.mosquitto_publish_callback_set, ON_PUBLISH(on_publish)),
            (lib.mosquitto_message_callback_set, ON_MESSAGE(on_message)),
        ]
        for register, callback in self.callbacks:
            register(self.handle, callback)
        properties = c_void_p()
        if version == 5:
            check(
                lib.mosquitto_property_add_int32(
                    byref(properties), MQTT_PROP_SESSION_EXPIRY_INTERVAL, c_uint32(300)
                )
            )
        check(lib.mosquitto_connect_bind_v5(self.handle, b"127.0.0.1", port, keep_alive, None, properties))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        code = lib.mosquitto_loop_forever(self.handle, -1, 1)
        stage.note("the loop ended:", lib.mosquitto_strerror(code).decode())
        if not self.closing:
            stage.say("ended for good")

    def close(self):
        self.closing = True
        lib.mosquitto_disconnect(self.handle)
        self.thread.join()
        stage.say("closed")

    def send(self, messages, done):
        # before the first callback can come
        self.left, self.published = len(messages), done
        for topic, payload, qos, retain in messages:
            payload = payload.encode()
            check(
                lib.mosquitto_publish(
                    self.handle, None, topic.encode(), len(payload), payload, qos, c_bool(retain)
                )
            )


class Commands:
    def open(self, **arguments):
        self.client = Client(**arguments)

    def publish(self, topic, qos, retain, payload):
        self.client.send([(topic, payload, qos, retain)], ("published", qos))

    def burst(self, topic, count):
        messages = [(topic, str(number), 1, False) for number in range(1, count + 1)]
        self.client.send(messages, ("burst published", count))

    def close(self):
        self.client.close()


lib.mosquitto_lib_init()
stage.perform(Commands())
