"""gmqtt: with_gmqtt.py VERSION"""

import asyncio
import logging
import sys

import gmqtt
import stage
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

V5 = sys.argv[1] == "5"
logging.basicConfig(format="note %(message)s", stream=sys.stdout, level=logging.WARNING)


class Commands:
    async def open(self, port, id, password, keep_alive, will, filter, qos):
        options = {"session_expiry_interval": 300} if V5 else {}
        client = gmqtt.Client(
            id,
            clean_session=False,
            will_message=gmqtt.Message(will, "will", qos=1),
            **options,
        )
        client.set_auth_credentials(stage.USER, password)
        # six seconds by default
        client.set_config({"reconnect_delay": 1})
        client.closing = client.up = False

        def on_connect(client, flags, _code, _properties):
            client.up = True
            stage.say("connected session", flags & 1)
            client.subscribe(filter, qos=qos)

        def on_disconnect(client, packet, exc=None):
            # what it gives when the connection just ended is a code that it made itself
            stage.note("disconnect", packet, exc)
            if client.up and not client.closing:
                stage.say("disconnected")
            client.up = False

        def on_message(_client, topic, payload, qos, properties):
            stage.message(topic, qos, properties["retain"], payload)
            return 0

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_message = on_message
        client.on_subscribe = lambda _client, _mid, codes, _properties: stage.say(
            "subscribed", ",".join(map(str, codes))
        )
        self.client = client
        try:
            await client.connect(
                "127.0.0.1", port, keepalive=keep_alive, version=MQTTv50 if V5 else MQTTv311
            )
        except gmqtt.mqtt.handler.MQTTConnectError as error:
            stage.say("refused", error._code)

    async def publish(self, topic, qos, retain, payload):
        self.client.publish(topic, payload, qos=qos, retain=retain)
        await self.acknowledged()
        stage.say("published", qos)

    async def burst(self, topic, count):
        for number in range(1, count + 1):
            try:
                self.client.publish(topic, str(number), qos=1)
            except OverflowError:
                # MQTT 5: the server's Receive Maximum, which it leaves to the program to heed
                await self.acknowledged()
                self.client.publish(topic, str(number), qos=1)
        await self.acknowledged()
        stage.say("burst published", count)

    async def acknowledged(self):
        # there is no callback: its queue is empty when everything was acknowledged
        await self.client._persistent_storage.wait_empty()

    async def close(self):
        self.client.closing = True
        if self.client.up:
            await self.client.disconnect()
        stage.say("closed")


asyncio.run(stage.perform_async(Commands()))
