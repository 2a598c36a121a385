"""The client for MQTT 5 of AWS's common runtime."""

import threading

import stage
from awscrt import mqtt5


class Commands:
    def open(self, port, id, password, keep_alive, will, filter, qos):
        stopped = threading.Event()

        def subscribe():
            packet = mqtt5.SubscribePacket([mqtt5.Subscription(filter, mqtt5.QoS(qos))])
            try:
                codes = self.client.subscribe(packet).result().reason_codes
            except Exception as error:
                stage.note("subscribe", error)
                return
            stage.say("subscribed", ",".join(str(int(code)) for code in codes))

        def on_success(data):
            stage.say("connected session", int(data.connack_packet.session_present))
            # not from the thread of the event loop, which this would hold up
            threading.Thread(target=subscribe, daemon=True).start()

        def on_failure(data):
            stage.note("failed", data.exception)
            if data.connack_packet:
                stage.say("refused", int(data.connack_packet.reason_code))

        def on_disconnection(data):
            if data.disconnect_packet:
                stage.say("told to disconnect", int(data.disconnect_packet.reason_code))
            if not self.closing:
                stage.say("disconnected")

        def on_publish(data):
            it = data.publish_packet
            stage.message(it.topic, it.qos, it.retain, it.payload or b"")

        self.closing, self.stopped = False, stopped
        self.client = mqtt5.Client(
            mqtt5.ClientOptions(
                "127.0.0.1",
                port,
                connect_options=mqtt5.ConnectPacket(
                    keep_alive_interval_sec=keep_alive,
                    client_id=id,
                    username=stage.USER,
                    password=password,
                    session_expiry_interval_sec=300,
                    will=mqtt5.PublishPacket(topic=will, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=b"will"),
                ),
                session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
                # it must be shorter than the keep alive; 30 seconds by default
                ping_timeout_ms=3000,
                # of each reconnection more than a minute, in the end, if it is not told otherwise
                max_reconnect_delay_ms=2000,
                on_publish_callback_fn=on_publish,
                on_lifecycle_event_connection_success_fn=on_success,
                on_lifecycle_event_connection_failure_fn=on_failure,
                on_lifecycle_event_disconnection_fn=on_disconnection,
                on_lifecycle_event_stopped_fn=lambda _: stopped.set(),
                # it would be a part of the user name
                disable_metrics=True,
            )
        )
        self.client.start()

    def publish(self, topic, qos, retain, payload):
        self.send(topic, qos, retain, payload).result()
        stage.say("published", qos)

    def send(self, topic, qos, retain, payload):
        packet = mqtt5.PublishPacket(topic=topic, qos=mqtt5.QoS(qos), retain=retain, payload=payload.encode())
        return self.client.publish(packet)

    def burst(self, topic, count):
        for future in [self.send(topic, 1, False, str(number)) for number in range(1, count + 1)]:
            future.result()
        stage.say("burst published", count)

    def close(self):
        self.closing = True
        self.client.stop(mqtt5.DisconnectPacket())
        self.stopped.wait()
        stage.say("closed")


stage.perform(Commands())
