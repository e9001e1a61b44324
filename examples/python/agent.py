#!/usr/bin/env python3
"""A small support agent that asks before it acts, and records what it does. Standard library only.

It writes JSON lines to the sidecar and reads one answer for each. The sidecar is either

  CUSTODY_SOCKET=/path   the socket of a running `custody edge`, or
  CUSTODY_EDGE=command   started by this program (default: custody edge --dir $CUSTODY_EMITTER)

CUSTODY_EMITTER is the folder made by `custody join`.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import uuid


class Refused(Exception):
    """The sidecar did not record an event: nothing may be done unrecorded."""


class Blocked(Exception):
    """The gate does not allow a call: it was not made."""


class Recorder:
    """Sends lines to the sidecar, and reads an answer for each."""

    def __init__(self):
        path = os.environ.get("CUSTODY_SOCKET")
        if path:
            self.process = None
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(path)
            self.lines = self.socket.makefile("rw", encoding="utf-8", newline="\n")
            self.input = self.output = self.lines
        else:
            if not (os.environ.get("CUSTODY_EDGE") or os.environ.get("CUSTODY_EMITTER")):
                raise Refused("set CUSTODY_EMITTER or CUSTODY_SOCKET: custody enroll TENANT/INSTANCE --into FOLDER makes an emitter")
            command = shlex.split(os.environ.get("CUSTODY_EDGE", "")) or [
                "custody", "edge", "--dir", os.environ["CUSTODY_EMITTER"]
            ]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
            )
            self.input, self.output = self.process.stdin, self.process.stdout

    def say(self, **line):
        """Sends one line and returns its answer. With {"watch": true} there would be others between: see `stop` there."""
        self.input.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.input.flush()
        text = self.output.readline()
        if not text:
            raise Refused("the sidecar has ended")
        answer = json.loads(text)
        if not answer["ok"]:
            raise Refused(f"{answer.get('field', '')}: {answer['error']}")
        return answer

    def record(self, **event):
        """Records an event and returns its id."""
        return self.say(**event)["id"]

    def close(self):
        """Waits until the sidecar has delivered everything, if it is ours."""
        self.input.close()
        if self.process and self.process.wait() != 0:
            raise Refused("the sidecar could not deliver everything; it will at its next start")


class Run:
    """One task. It keeps what led to the next step: the causes."""

    def __init__(self, recorder, principal, workflow):
        self.recorder = recorder
        self.common = {"run": str(uuid.uuid4()), "principal": principal}
        self.causes = []
        self.trust = "trusted"
        self.record(identity={"action": "run_started", "workflow": workflow, "agent_version": "1"})

    def record(self, **event):
        return self.recorder.record(**self.common, **event)

    def input(self, source, text, trust):
        """Records what somebody wrote, and takes it as a cause of what follows."""
        if trust == "untrusted":
            self.trust = trust
        event = self.record(
            trust=trust,
            data={"action": "input_received", "source": source, "bytes": len(text.encode()), "direction": "in"},
            sealed={"content": text},
        )
        self.causes.append({"id": event, "relation": "input"})

    def call(self, tool, do, consequence="low", **arguments):
        """Asks the gate, does it, and says how it ended. The sidecar records all of that."""
        call = str(uuid.uuid4())
        asked = self.recorder.say(
            **self.common,
            trust=self.trust,
            causes=self.causes,
            ask={"call": call, "tool": tool, "consequence": consequence},
            sealed={"arguments": {"value": json.dumps(arguments), "media_type": "application/json"}},
        )
        if asked["decision"] != "allow":
            raise Blocked(asked["reason"])
        try:
            result = do(**arguments)
        except Exception as error:
            self.recorder.say(done={"call": call, "outcome": "error"}, sealed={"error": str(error)})
            raise
        done = self.recorder.say(done={"call": call, "outcome": "ok"}, trust="untrusted", sealed={"result": result})
        self.causes.append({"id": done["id"], "relation": "retrieved"})
        self.trust = "untrusted"
        return result

    def end(self, outcome):
        self.record(identity={"action": "run_ended", "outcome": outcome})


def lookup_order(order):
    return f"order {order}: shipped"


def send_email(to, text):
    return f"sent to {to}"


def main():
    recorder = Recorder()
    run = Run(recorder, principal="customer-9", workflow="support")
    run.input("e-mail", "Where is my order R4K922? Please write to alice@example.com.", "untrusted")
    print("lookup_order:", run.call("lookup_order", lookup_order, order="R4K922"))
    print("send_email:", run.call("send_email", send_email, "high", to="alice@example.com", text="It is on its way."))
    run.end("ok")
    recorder.close()


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(f"not recorded: {refused}")
    except Blocked as blocked:
        sys.exit(f"blocked: {blocked}")
