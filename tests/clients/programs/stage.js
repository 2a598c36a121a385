// What every program of this folder has in common: commands in, events out.
//
// A command is a line of JSON on standard input, {"do": NAME, ...}; an event is a line "event ..." on
// standard output. The test compares the events of a client that is at the broker with those of the
// same client behind the proxy. A line "note ..." is for people who read a failed test: it says what
// depends on the moment, such as the text of an error.
//
//   open     connect: port, id, password, keep_alive, will (topic), filter, qos; and subscribe each time
//            that the connection is up
//   publish  topic, qos, retain, payload
//   burst    topic, count: that many messages of QoS 1 at once, with the payloads 1, 2, 3...
//   close    disconnect, as a client that leaves
const readline = require("node:readline");

const text = (payload) => (payload.length === 0 ? "(empty)" : String(payload));

exports.say = (...words) => console.log("event", ...words);
exports.note = (...words) => console.log("note", ...words);
exports.message = (topic, qos, retain, payload) =>
  exports.say("message", topic, qos, retain ? "retained" : "new", text(payload));
exports.user = "device";

// `commands` has a function for each command.
exports.perform = (commands) => {
  const input = readline.createInterface({ input: process.stdin });
  input.on("line", (line) => {
    const command = JSON.parse(line);
    commands[command.do](command);
  });
};
