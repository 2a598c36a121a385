"""aiomqtt, with the loop that its documentation shows for reconnecting: with_aiomqtt.py VERSION"""

import asyncio
import sys

import aiomqtt
import stage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSION = sys.argv[1]
V5 = VERSION == "5"


class Commands:
    async def open(self, port, id, password, keep_alive, will, filter, qos):
        options = {"protocol": aiomqtt.ProtocolVersion.V5 if V5 else aiomqtt.ProtocolVersion.V311}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 300
            options.update(clean_start=False, properties=properties)
        else:
            options.update(clean_session=False)
        self.closing = asyncio.Event()
        while not self.closing.is_set():
            up = False
            try:
                client = aiomqtt.Client(
                    "127.0.0.1",
                    port,
                    username=stage.USER,
                    password=password,
                    identifier=id,
                    keepalive=keep_alive,
                    will=aiomqtt.Will(will, "will", 1),
                    **options,
                )
                async with client:
                    up = True
                    self.client = client
                    # it warns of more than ten, which a burst is
                    client.pending_calls_threshold = 1000
                    # it does not tell whether there was a session
                    stage.say("connected")
                    reading = asyncio.create_task(self.read(client))
                    granted = await client.subscribe(filter, qos)
                    stage.say("subscribed", ",".join(str(getattr(code, "value", code)) for code in granted))
                    leaving = asyncio.create_task(self.closing.wait())
                    done, _ = await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    if reading in done:
                        leaving.cancel()
                        reading.result()
                    reading.cancel()
            except aiomqtt.MqttError as error:
                stage.note(type(error).__name__, error)
                code = getattr(error, "rc", None)
                code = getattr(code, "value", code)
                if up:
                    stage.say("disconnected")
                elif isinstance(error, aiomqtt.exceptions.MqttConnectError):
                    stage.say("refused", code)
                try:
                    await asyncio.wait_for(self.closing.wait(), 1)
                except asyncio.TimeoutError:
                    pass
        stage.say("closed")

    async def read(self, client):
        async for it in client.messages:
            stage.message(it.topic, it.qos, it.retain, it.payload)

    async def publish(self, topic, qos, retain, payload):
        await self.client.publish(topic, payload, qos, retain)
        stage.say("published", qos)

    async def burst(self, topic, count):
        await asyncio.gather(*(self.client.publish(topic, str(number), 1) for number in range(1, count + 1)))
        stage.say("burst published", count)

    async def close(self):
        self.closing.set()


asyncio.run(stage.perform_async(Commands()))
