"""An aMQTT that lets everybody in, over TCP.

    amqtt_broker.py      prints "listening PORT"
"""

import asyncio
import logging

from amqtt.broker import Broker

logging.basicConfig(level=logging.WARNING)


async def main():
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                "amqtt.plugins.topic_checking.TopicTabooPlugin": {},
            },
        }
    )
    await broker.start()
    (server,) = broker._servers.values()
    print("listening", server.instance.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
