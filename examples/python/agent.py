#!/usr/bin/env python3
"""A small support agent that records what it does. Standard library only.

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
import time
import uuid


class Refused(Exception):
    """The sidecar did not record an event: nothing may be done unrecorded."""


class Recorder:
    """Sends events to the sidecar. Each call returns the event's id."""

    def __init__(self):
        path = os.environ.get("CUSTODY_SOCKET")
        if path:
            self.process = None
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(path)
            self.lines = self.socket.makefile("rw", encoding="utf-8", newline="\n")
            self.input = self.output = self.lines
        else:
            command = shlex.split(os.environ.get("CUSTODY_EDGE", "")) or [
                "custody", "edge", "--dir", os.environ["CUSTODY_EMITTER"]
            ]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
            )
            self.input, self.output = self.process.stdin, self.process.stdout

    def record(self, **event):
        self.input.write(json.dumps(event, ensure_ascii=False) + "\n")
        self.input.flush()
        line = self.output.readline()
        if not line:
            raise Refused("the sidecar has ended")
        answer = json.loads(line)
        if not answer["ok"]:
            raise Refused(f"{answer.get('field', '')}: {answer['error']}")
        return answer["id"]

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
        """Records a tool call around do(**arguments)."""
        stage = {"call": str(uuid.uuid4()), "tool": tool, "consequence": consequence}
        proposed = self.record(
            trust=self.trust,
            causes=self.causes,
            execution={"action": "proposed", **stage},
            sealed={"arguments": {"value": json.dumps(arguments), "media_type": "application/json"}},
        )
        started = self.record(
            trust=self.trust,
            write_ahead=consequence == "high",
            causes=[{"id": proposed, "relation": "decision"}],
            execution={"action": "started", **stage},
        )
        cause = [{"id": started, "relation": "decision"}]
        begin = time.monotonic_ns()
        try:
            result = do(**arguments)
        except Exception as error:
            self.record(
                causes=cause,
                execution={"action": "failed", "outcome": "error", "duration": time.monotonic_ns() - begin, **stage},
                sealed={"error": str(error)},
            )
            raise
        finished = self.record(
            causes=cause,
            execution={"action": "finished", "outcome": "ok", "duration": time.monotonic_ns() - begin, **stage},
            sealed={"result": result},
        )
        self.causes.append({"id": finished, "relation": "retrieved"})
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
