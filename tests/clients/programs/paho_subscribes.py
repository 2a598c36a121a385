"""A paho client that subscribes to many topics by as many SUBSCRIBE, all at once, each time that it is
connected, as programs do that have a list of topics: paho_subscribes.py PORT COUNT

Prints what came of it.
"""

import sys
import threading

import paho.mqtt.client as mqtt

PORT, COUNT = map(int, sys.argv[1:])
PATIENCE = 25

done = threading.Event()
connections = granted = 0


def on_connect(client, _data, _flags, _code, _properties):
    global connections
    connections += 1
    for number in range(COUNT):
        client.subscribe(f"many/{number}", 1)


def on_disconnect(_client, _data, _flags, _code, _properties):
    print("event disconnected")


def on_subscribe(_client, _data, _mid, codes, _properties):
    global granted
    granted += sum(code == 1 for code in codes)
    if granted == COUNT:
        done.set()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"many-{PORT}")
client.on_connect = on_connect
client.on_disconnect = on_disconnect
client.on_subscribe = on_subscribe
client.connect("127.0.0.1", PORT)
client.loop_start()
came = done.wait(PATIENCE)
print("event granted", granted)
print("event connections", connections)
print("ok" if came else "not all")
