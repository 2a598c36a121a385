// An aedes that lets everybody in, over TCP.
//
//   node aedes_broker.js      prints "listening PORT"
const net = require("node:net");
const aedes = require("aedes")({ queueLimit: 0 });

const server = net.createServer(aedes.handle);
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
