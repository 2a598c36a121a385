// Messages between an MQTT.js client behind the proxy and one at the broker.
//
//   node mqttjs_roundtrip.js PROXY_URL BROKER_PORT       PROXY_URL: mqtt://... or ws://.../mqtt
//
// Prints "ok", or ends with an error. All three versions of MQTT, QoS 0 to 2, payloads from nothing
// to 1 MiB, both ways; retained messages, unsubscribing, and properties of MQTT 5.
const assert = require("node:assert/strict");
const mqtt = require("mqtt");

const [proxy, brokerPort] = process.argv.slice(2);
const broker = `mqtt://127.0.0.1:${brokerPort}`;
const patience = 30_000;
const sizes = [0, 1, 1024, 64 * 1024, 1024 * 1024];
const versions = [
  { name: "3.1", protocolVersion: 3, protocolId: "MQIsdp" },
  { name: "3.1.1", protocolVersion: 4, protocolId: "MQTT" },
  { name: "5", protocolVersion: 5, protocolId: "MQTT" },
];

// Messages that came and were not yet expected, and expectations that wait for theirs.
class Inbox {
  constructor(client) {
    this.messages = [];
    this.waiting = [];
    client.on("message", (topic, payload, packet) => {
      const message = { topic, payload, qos: packet.qos, retain: packet.retain, properties: packet.properties };
      const waiting = this.waiting.shift();
      if (waiting) waiting(message);
      else this.messages.push(message);
    });
  }

  async expect(topic, payload, qos, retain = false) {
    const message = this.messages.shift() ?? (await new Promise((resolve) => this.waiting.push(resolve)));
    assert.deepEqual(
      [message.topic, message.qos, message.retain, message.payload.length],
      [topic, qos, retain, payload.length],
    );
    assert.ok(message.payload.equals(payload));
    return message;
  }
}

async function connect(url, clientId, { protocolVersion, protocolId }) {
  const client = mqtt.connect(url, { clientId, protocolVersion, protocolId, manualConnect: true });
  client.inbox = new Inbox(client);
  const connected = new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
    client.once("close", () => reject(new Error(`${clientId}: closed`)));
  });
  client.connect();
  await connected;
  return client;
}

async function subscribe(client, topic, qos, options = {}) {
  const granted = await client.subscribeAsync(topic, { qos, ...options });
  assert.deepEqual(granted.map((grant) => grant.qos), [qos]);
}

async function messages(label, device, service) {
  for (const qos of [0, 1, 2]) {
    const [up, down] = [`${label}/up/${qos}`, `${label}/down/${qos}`];
    await subscribe(service, up, qos);
    await subscribe(device, down, qos);
    for (const size of sizes) {
      const body = Buffer.alloc(size, Buffer.from([0, 255, 16, 48]));
      await device.publishAsync(up, body, { qos });
      await service.inbox.expect(up, body, qos);
      await service.publishAsync(down, body, { qos });
      await device.inbox.expect(down, body, qos);
    }
  }
}

async function retained(label, device, service) {
  const topic = `${label}/retained`;
  await device.publishAsync(topic, "kept", { qos: 1, retain: true });
  for (const client of [service, device]) {
    await subscribe(client, topic, 1);
    await client.inbox.expect(topic, Buffer.from("kept"), 1, true);
    await client.unsubscribeAsync(topic);
  }
  await service.publishAsync(topic, "not for you", { qos: 1, retain: true });
  await subscribe(device, `${label}/fence`, 1);
  await service.publishAsync(`${label}/fence`, "for you", { qos: 1 });
  await device.inbox.expect(`${label}/fence`, Buffer.from("for you"), 1);
}

async function version5(label, device, service) {
  const topic = `${label}/properties`;
  await subscribe(service, topic, 1);
  const properties = {
    userProperties: { a: ["1", "2"], "grüße": "✓" },
    contentType: "text/plain",
    responseTopic: `${label}/answers`,
    correlationData: Buffer.from([0, 255]),
  };
  await device.publishAsync(topic, "hello", { qos: 1, properties });
  const { properties: got } = await service.inbox.expect(topic, Buffer.from("hello"), 1);
  for (const name of Object.keys(properties)) {
    assert.deepEqual(JSON.stringify(got[name]), JSON.stringify(properties[name]));
  }
}

async function main() {
  for (const version of versions) {
    const device = await connect(proxy, `js-device-${version.name}`, version);
    const service = await connect(broker, `js-service-${version.name}`, version);
    const label = `js/${new URL(proxy).protocol}/${version.name}`;
    await messages(label, device, service);
    await retained(label, device, service);
    if (version.protocolVersion === 5) await version5(label, device, service);
    for (const client of [device, service]) await client.endAsync();
    assert.deepEqual([device.inbox.messages, service.inbox.messages], [[], []]);
  }
  console.log("ok");
}

const timer = setTimeout(() => {
  console.error("out of patience");
  process.exit(1);
}, patience);
main()
  .then(() => clearTimeout(timer))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
