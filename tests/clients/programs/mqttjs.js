// MQTT.js of any generation: node mqttjs.js MODULE VERSION [OPTION]
//
// VERSION is 3.1, 3.1.1 or 5. OPTION is "reconnectOnConnackError", or "ws": over WebSocket, with no path in
// the URL, as MQTT.js has it by default.
const stage = require("./stage.js");

const [generation, version, option] = process.argv.slice(2);
const mqtt = require(generation);
const v5 = version === "5";

let client;

stage.perform({
  open({ port, id, password, keep_alive: keepalive, will, filter, qos }) {
    const scheme = option === "ws" ? "ws" : "mqtt";
    const opened = mqtt.connect(`${scheme}://127.0.0.1:${port}`, {
      protocolVersion: { 3.1: 3, "3.1.1": 4, 5: 5 }[version],
      protocolId: version === "3.1" ? "MQIsdp" : "MQTT",
      clientId: id,
      username: stage.user,
      password,
      clean: false,
      keepalive,
      will: { topic: will, payload: "will", qos: 1, retain: false },
      ...(v5 ? { properties: { sessionExpiryInterval: 300 } } : {}),
      ...(option === "reconnectOnConnackError" ? { reconnectOnConnackError: true } : {}),
    });
    let up = false;
    opened.on("connect", (connack) => {
      up = true;
      const properties = v5 && connack.properties ? JSON.stringify(connack.properties) : "";
      stage.say("connected session", connack.sessionPresent, properties);
      opened.subscribe(filter, { qos }, (error, granted) => {
        if (error) stage.note("subscribe", error.message);
        else stage.say("subscribed", granted.map((grant) => grant.qos).join());
      });
    });
    opened.on("disconnect", (packet) => stage.say("told to disconnect", packet.reasonCode));
    opened.on("close", () => {
      if (up && !opened.disconnecting) stage.say("disconnected");
      up = false;
    });
    opened.on("error", (error) => {
      if (typeof error.code === "number") stage.say("refused", error.code);
      else stage.note("error", error.message);
    });
    opened.on("reconnect", () => stage.note("tries to connect"));
    opened.on("message", (topic, payload, packet) => stage.message(topic, packet.qos, packet.retain, payload));
    client = opened;
  },
  publish({ topic, qos, retain, payload }) {
    client.publish(topic, payload, { qos, retain }, (error) => {
      if (error) stage.note("publish", error.message);
      else stage.say("published", qos);
    });
  },
  burst({ topic, count }) {
    let left = count;
    for (let number = 1; number <= count; number++) {
      client.publish(topic, String(number), { qos: 1 }, (error) => {
        if (error) stage.note("publish", error.message);
        else if (--left === 0) stage.say("burst published", count);
      });
    }
  },
  close() {
    client.end(false, () => stage.say("closed"));
  },
});
