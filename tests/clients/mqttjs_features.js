// What an MQTT.js client can do with a broker, by one way after another.
//
//   node mqttjs_features.js BROKER_PORT VERSION,... CANNOT,... WAY=URL...
//
// VERSION: 3.1, 3.1.1 or 5; URL: mqtt://... or ws://.../mqtt. CANNOT: features that the broker does
// not have, or "-": they are tried, but not waited for very long; those with a "!" before them are
// not tried, because they would disturb the others. The client comes by each way in turn; its
// counterpart is always at the broker itself.
//
// Prints a line for each: "VERSION WAY FEATURE: ok", or what went wrong instead of "ok".
const assert = require("node:assert/strict");
const mqtt = require("mqtt");

const [brokerPort, labels, cannot, ...ways] = process.argv.slice(2);
const broker = `mqtt://127.0.0.1:${brokerPort}`;
const versions = {
  3.1: { protocolVersion: 3, protocolId: "MQIsdp" },
  "3.1.1": { protocolVersion: 4, protocolId: "MQTT" },
  5: { protocolVersion: 5, protocolId: "MQTT" },
};
const patience = 25_000;
const short = 2_000;

// One version by one way, with one feature to be tried.
class Case {
  constructor(number, label, way, feature) {
    const [name, ...url] = way.split("=");
    Object.assign(this, { number, version: label, way: name, url: url.join("="), feature });
    // RabbitMQ takes a full stop for a slash
    this.label = `js/${label}/${name}/${feature}`.replaceAll(".", "");
    this.patience = cannot.split(",").includes(feature) ? short : patience;
    this.clients = [];
  }

  async within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no ${what}`)), this.patience);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  device(options = {}) {
    return this.client(this.url, "device", options);
  }

  service() {
    return this.client(broker, "service", {});
  }

  async client(url, name, { keep, ...options }) {
    const version = versions[this.version];
    const v5 = version.protocolVersion === 5;
    const client = mqtt.connect(url, {
      ...version,
      clientId: `js${this.number}-${name}`,
      clean: !keep,
      reconnectPeriod: 0,
      manualConnect: true,
      properties: v5 ? { sessionExpiryInterval: keep ? 60 : 0 } : undefined,
      ...options,
    });
    this.clients.push(client);
    client.messages = [];
    client.waiting = [];
    client.on("message", (topic, payload, packet) => {
      const message = [topic, packet.qos, packet.retain, payload];
      const waiting = client.waiting.shift();
      if (waiting) waiting(message);
      else client.messages.push(message);
    });
    client.closed = new Promise((resolve) => client.once("close", resolve));
    const connected = new Promise((resolve, reject) => {
      client.once("connect", resolve);
      client.once("error", reject);
      client.once("close", () => reject(new Error("closed")));
    });
    // later errors end what waits for something
    client.on("error", () => {});
    client.connect();
    client.connack = await this.within("connection", connected);
    return client;
  }

  async subscribe(client, topic, qos) {
    const granted = await this.within("subscription", client.subscribeAsync(topic, { qos }));
    assert.deepEqual(granted.map((grant) => grant.qos), [qos]);
  }

  publish(client, topic, body, options = {}) {
    return this.within("acknowledgement", client.publishAsync(topic, body, { qos: 1, ...options }));
  }

  async expect(client, topic, body, qos = 1, retain = false) {
    const message =
      client.messages.shift() ??
      (await this.within("message", new Promise((resolve) => client.waiting.push(resolve))));
    const seen = [message[0].slice(0, 99), message[1], message[2], message[3].length];
    assert.deepEqual(seen, [topic.slice(0, 99), qos, retain, body.length]);
    assert.ok(message[0] === topic && message[3].equals(Buffer.from(body)), "not what was sent");
  }

  async bothWays(qos = 1, body = Buffer.from([0, 255])) {
    const [device, service] = [await this.device(), await this.service()];
    for (const [name, sender, receiver] of [["up", device, service], ["down", service, device]]) {
      const topic = `${this.label}/${name}`;
      await this.subscribe(receiver, topic, qos);
      await this.publish(sender, topic, body, { qos });
      await this.expect(receiver, topic, body, qos);
    }
  }
}

const features = {
  qos0: (it) => it.bothWays(0),
  qos1: (it) => it.bothWays(1),
  qos2: (it) => it.bothWays(2),
  empty: (it) => it.bothWays(1, Buffer.alloc(0)),
  large: (it) => it.bothWays(1, Buffer.alloc(256 * 1024, Buffer.from([0, 255, 16, 48]))),

  async long_topic(it) {
    const [device, service] = [await it.device(), await it.service()];
    const topic = `${it.label}/`.padEnd(65535, "t");
    await it.subscribe(service, `${it.label}/#`, 1);
    await it.publish(device, topic, "x");
    await it.expect(service, topic, "x");
  },

  async retained(it) {
    const [device, service] = [await it.device(), await it.service()];
    for (const [name, sender, receiver] of [["up", device, service], ["down", service, device]]) {
      const topic = `${it.label}/${name}`;
      await it.publish(sender, topic, "kept", { retain: true });
      await it.subscribe(receiver, topic, 1);
      await it.expect(receiver, topic, "kept", 1, true);
      await it.within("UNSUBACK", receiver.unsubscribeAsync(topic));
      // an empty payload removes it: the next one that comes is another
      await it.publish(sender, topic, "", { retain: true });
      await it.subscribe(receiver, topic, 1);
      await it.publish(sender, topic, "new");
      await it.expect(receiver, topic, "new");
    }
  },

  async will(it) {
    const service = await it.service();
    await it.subscribe(service, it.label, 1);
    const will = (payload) => ({ will: { topic: it.label, payload, qos: 1 } });
    await (await it.device(will("no"))).endAsync();
    (await it.device(will("will"))).stream.destroy();
    await it.expect(service, it.label, "will");
  },

  async takeover(it) {
    const [old, service] = [await it.device(), await it.service()];
    const device = await it.device();
    await it.within("end", old.closed);
    await it.subscribe(service, it.label, 1);
    await it.publish(device, it.label, "new");
    await it.expect(service, it.label, "new");
  },

  async unsubscribe(it) {
    const [device, service] = [await it.device(), await it.service()];
    for (const name of ["gone", "fence"]) await it.subscribe(device, `${it.label}/${name}`, 1);
    await it.within("UNSUBACK", device.unsubscribeAsync(`${it.label}/gone`));
    for (const name of ["gone", "fence"]) await it.publish(service, `${it.label}/${name}`, "x");
    await it.expect(device, `${it.label}/fence`, "x");
  },

  async persistent(it) {
    const [away, service] = [await it.device({ keep: true }), await it.service()];
    await it.subscribe(away, it.label, 1);
    await away.endAsync();
    for (const number of ["0", "1", "2"]) await it.publish(service, it.label, number);
    const device = await it.device({ keep: true });
    for (const number of ["0", "1", "2"]) await it.expect(device, it.label, number);
    // MQTT 3.1 has no word for it
    if (it.version !== "3.1") assert.ok(device.connack.sessionPresent, "no session present");
  },
};

async function attempt(number, label, way, feature) {
  if (cannot.split(",").includes(`!${feature}`)) {
    console.log(`${label} ${way.split("=")[0]} ${feature}: not tried`);
    return;
  }
  const it = new Case(number, label, way, feature);
  let result = "ok";
  try {
    await features[feature](it);
  } catch (error) {
    result = String(error).replaceAll("\n", " ");
  }
  for (const client of it.clients) client.stream?.destroy();
  console.log(`${label} ${it.way} ${feature}: ${result}`);
}

async function main() {
  const cases = [];
  for (const label of labels.split(","))
    for (const way of ways) for (const feature of Object.keys(features)) cases.push([label, way, feature]);
  // what a broker does not do is waited for at the same time as the rest is done
  let next = 0;
  const worker = async () => {
    while (next < cases.length) {
      const number = next++;
      await attempt(number, ...cases[number]);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

main().then(() => process.exit(0));
