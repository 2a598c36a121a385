// A WebSocket server that passes binary frames on to a broker on a port of this host, and back.
//
//   node ws_bridge.js BROKER_PORT [PATH]      prints "listening PORT"
//
// Without PATH it takes any. It insists on what MQTT says about WebSocket, so that a client which does not keep to it is cut
// off: binary frames [MQTT-6.0.0-1], and a subprotocol [MQTT-6.0.0-3].
const net = require("node:net");
const { WebSocketServer } = require("ws");

const [brokerPort, path] = process.argv.slice(2);
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  path,
  handleProtocols: (offered) => ["mqtt", "mqttv3.1"].find((name) => offered.has(name)) ?? false,
});

server.on("connection", (client) => {
  if (!client.protocol) return client.close(1002, "no subprotocol");
  const broker = net.connect(Number(brokerPort), "127.0.0.1");
  broker.setNoDelay(true);
  broker.on("data", (bytes) => client.send(bytes));
  broker.on("close", () => client.close());
  broker.on("error", () => client.terminate());
  client.on("message", (bytes, isBinary) => {
    if (!isBinary) return client.close(1003, "not binary");
    broker.write(bytes);
  });
  client.on("close", () => broker.end());
  client.on("error", () => broker.destroy());
});

server.on("listening", () => console.log(`listening ${server.address().port}`));
