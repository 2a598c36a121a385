"""mosquitto_sub, which reconnects by itself, and mosquitto_pub beside it: mosquitto_sub.py VERSION

VERSION is 3.1, 3.1.1 or 5. What mosquitto_sub sees is taken from what it says with `-d`.
"""

import ctypes
import signal
import subprocess
import sys
import threading

import stage

VERSION = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5": "mqttv5"}[sys.argv[1]]


PR_SET_PDEATHSIG = 1


def end_with_parent():
    """In mosquitto_sub: when this script is killed, it is killed too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Commands:
    def open(self, port, id, password, keep_alive, will, filter, qos):
        self.place = ["-h", "127.0.0.1", "-p", str(port), "-V", VERSION, "-u", stage.USER, "-P", password]
        # it keeps lines to itself when it does not write to a terminal
        command = ["stdbuf", "--output=L", "mosquitto_sub", *self.place, "-d", "-c", "-i", id]
        command += ["-k", str(keep_alive), "-q", str(qos), "-t", filter, "-F", "message %t %q %r %p"]
        command += ["--will-topic", will, "--will-payload", "will", "--will-qos", "1"]
        if VERSION == "mqttv5":
            command += ["-x", "300"]
        self.closing = False
        self.program = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=end_with_parent,
        )
        threading.Thread(target=self.follow, args=[self.program], daemon=True).start()

    def follow(self, program):
        up = False
        for line in program.stdout:
            line = line.rstrip("\n")
            stage.note(line)
            words = line.split(" ")
            if line.startswith("message "):
                _, topic, qos, retain, payload = words
                stage.message(topic, qos, retain == "1", payload.encode())
            elif line.endswith(" received CONNACK (0)"):
                up = True
                # it does not tell whether there was a session
                stage.say("connected")
            elif " received CONNACK (" in line:
                stage.say("refused", words[-1].strip("()"))
            elif line.startswith("Subscribed "):
                stage.say("subscribed", line.split("): ")[1])
            elif " received DISCONNECT" in line or line.startswith("Received DISCONNECT"):
                stage.say("told to disconnect", words[-1].strip("()"))
            # it does not tell that a connection ended, only that it begins another
            elif line.endswith(" sending CONNECT") and up:
                up = False
                stage.say("disconnected")
        code = program.wait()
        if self.closing:
            stage.say("closed")
        else:
            stage.say("ended for good", code)

    def publish(self, topic, qos, retain, payload):
        command = ["mosquitto_pub", *self.place, "-q", str(qos), "-t", topic]
        command += ["-m", payload] if payload else ["-n"]
        subprocess.run(command + ["-r"] * retain, check=True)
        stage.say("published", qos)

    def burst(self, topic, count):
        lines = "".join(f"{number}\n" for number in range(1, count + 1))
        command = ["mosquitto_pub", *self.place, "-q", "1", "-t", topic, "-l"]
        subprocess.run(command, input=lines, text=True, check=True)
        stage.say("burst published", count)

    def close(self):
        if self.program.poll() is None:
            self.closing = True
            self.program.send_signal(signal.SIGTERM)
        else:
            stage.say("closed")


stage.perform(Commands())
