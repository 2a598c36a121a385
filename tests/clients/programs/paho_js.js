// The JavaScript client of Eclipse Paho, which is made for browsers: node paho_js.js 3.1.1
//
// It speaks MQTT over WebSocket only, for which it gets the one of the package `ws`.
global.WebSocket = require("ws");
const { Client, Message } = require("paho-mqtt");
const stage = require("./stage.js");

let client;
let delivered = () => {};

const message = (topic, qos, retained, payload) => {
  const made = new Message(payload);
  Object.assign(made, { destinationName: topic, qos, retained });
  return made;
};

stage.perform({
  open({ port, id, password, keep_alive: keepAliveInterval, will, filter, qos }) {
    const opened = new Client("127.0.0.1", port, "/", id);
    let closing = false;
    opened.onConnected = () => {
      // it does not tell whether there was a session
      stage.say("connected");
      opened.subscribe(filter, {
        qos,
        onSuccess: ({ grantedQos }) => stage.say("subscribed", Array.from(grantedQos).join()),
        onFailure: (failure) => stage.note("subscribe", failure.errorMessage),
      });
    };
    opened.onConnectionLost = ({ errorCode, errorMessage }) => {
      if (closing) return;
      stage.say("disconnected");
      stage.note(errorCode, errorMessage);
    };
    opened.onMessageArrived = (it) =>
      stage.message(it.destinationName, it.qos, it.retained, Buffer.from(it.payloadBytes));
    opened.onMessageDelivered = (it) => delivered(it);
    opened.connect({
      userName: stage.user,
      password,
      cleanSession: false,
      keepAliveInterval,
      mqttVersion: 4,
      mqttVersionExplicit: true,
      reconnect: true,
      // until it tries again; 30 seconds by default
      timeout: 2,
      willMessage: message(will, 1, false, "will"),
      onFailure: ({ errorCode, errorMessage }) => {
        // 6: a CONNACK that refuses; the text has its code
        if (errorCode === 6) stage.say("refused", errorMessage);
        else stage.note("failed", errorCode, errorMessage);
      },
    });
    client = opened;
    client.leave = () => {
      closing = true;
      if (opened.isConnected()) opened.disconnect();
      stage.say("closed");
    };
  },
  publish({ topic, qos, retain, payload }) {
    delivered = () => stage.say("published", qos);
    client.send(message(topic, qos, retain, payload));
  },
  burst({ topic, count }) {
    let left = count;
    delivered = () => {
      if (--left === 0) stage.say("burst published", count);
    };
    for (let number = 1; number <= count; number++) client.send(message(topic, 1, false, String(number)));
  },
  close() {
    client.leave();
  },
});
