"""The client for MQTT 3.1.1 of AWS's common runtime."""

import threading

import stage
from awscrt import mqtt


class Commands:
    def open(self, port, id, password, keep_alive, will, filter, qos):
        def subscribe():
            future, _ = self.connection.subscribe(filter, mqtt.QoS(qos))
            future.add_done_callback(
                lambda it: stage.say("subscribed", int(it.result()["qos"]))
                if not it.exception()
                else stage.note("subscribe", it.exception())
            )

        def on_success(connection, callback_data):
            stage.say("connected session", int(callback_data.session_present))
            # not from the thread of the event loop, which this would hold up
            threading.Thread(target=subscribe, daemon=True).start()

        def on_failure(connection, callback_data):
            stage.note("failed", callback_data.error)
            # that is how it tells of a CONNACK that refuses; there is no code
            if callback_data.error.name == "AWS_ERROR_MQTT_PROTOCOL_ERROR":
                stage.say("refused")

        def on_interrupted(connection, error, **_):
            stage.note("interrupted", error)
            stage.say("disconnected")

        self.connection = mqtt.Connection(
            mqtt.Client(),
            "127.0.0.1",
            port,
            id,
            clean_session=False,
            keep_alive_secs=keep_alive,
            username=stage.USER,
            password=password,
            will=mqtt.Will(will, mqtt.QoS.AT_LEAST_ONCE, b"will", False),
            on_connection_success=on_success,
            on_connection_failure=on_failure,
            on_connection_interrupted=on_interrupted,
            # five seconds by default, and up to a minute
            reconnect_min_timeout_secs=1,
            reconnect_max_timeout_secs=2,
            # it would be a part of the user name
            disable_metrics=True,
        )
        self.connection.on_message(
            lambda topic, payload, dup, qos, retain, **_: stage.message(topic, qos, retain, payload)
        )
        self.connection.connect().add_done_callback(
            lambda it: stage.note("connect", it.exception()) if it.exception() else None
        )

    def publish(self, topic, qos, retain, payload):
        future, _ = self.connection.publish(topic, payload.encode(), mqtt.QoS(qos), retain)
        future.result()
        stage.say("published", qos)

    def burst(self, topic, count):
        futures = [
            self.connection.publish(topic, str(number).encode(), mqtt.QoS.AT_LEAST_ONCE)[0]
            for number in range(1, count + 1)
        ]
        for future in futures:
            future.result()
        stage.say("burst published", count)

    def close(self):
        try:
            self.connection.disconnect().result()
        except Exception as error:
            # it was not connected
            stage.note(error)
        stage.say("closed")


stage.perform(Commands())
