"""A paho client that subscribes to many topics by as many SUBSCRIBE, all at once, as programs do that
have a list of topics: paho_subscribes.py PORT COUNT

Does so when a line comes on standard input. Prints what came of it.
"""

import sys
import threading
import time

import paho.mqtt.client as mqtt

PORT, COUNT = map(int, sys.argv[1:])
PATIENCE = 25

connected, done = threading.Event(), threading.Event()
connections = granted = 0


def on_connect(_client, _data, _flags, _code, _properties):
    global connections
    connections += 1
    connected.set()


def on_disconnect(_client, _data, _flags, _code, _properties):
    print("event disconnected", flush=True)
    done.set()


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
connected.wait(PATIENCE)
print("event connected", flush=True)
sys.stdin.readline()
for number in range(COUNT):
    client.subscribe(f"many/{number}", 1)
# its other thread writes them
while client.want_write() and not done.is_set():
    time.sleep(0.01)
print("event sent", flush=True)
done.wait(PATIENCE)
print("event granted", granted)
print("event connections", connections)
