"""Facts: the records of the range whose plain content is in the bundle, with what the records before them say about them
(docs/FORMAT.md, section 8: populations). Populations and controls are functions of the facts in their order, and of nothing else."""

from events import KEY_INVALID, KINDS, MESSAGES

# Words of this format, by the number that events write, which counts from 0 (nothing).
PRODUCERS = ["", "agent", "gateway", "importer", "custody"]
TRUSTS = ["", "trusted", "untrusted", "checked"]
CONSEQUENCES = ["", "low", "moderate", "high"]
DECISIONS = ["", "allow", "block", "needs_approval"]
OUTCOMES = ["", "ok", "error", "denied", "cancelled", "timeout"]
DIRECTIONS = ["", "in", "out"]
KEY_ACTIONS = ["", "enrolled", "revoked", "suspected"]
ROLES = ["", "admin", "auditor", "analyst", "responder", "approver", "operator"]
STATES = ["", "requested", "delivered", "acknowledged", "verified", "released", "proposed", "intended", "unproven", "expiring"]
ACTION_WORDS = {
    "identity": "epoch_opened epoch_closed heartbeat run_started run_ended credential_bound credential_used credential_released delegated "
                "role_assumed",
    "data": "input_received document_retrieved memory_read memory_written resource_read resource_written resource_exported content_finding",
    "execution": "proposed decided started finished failed retried validated",
    "approval": "requested approved rejected escalated expired",
    "system": " ".join(name for name, _ in MESSAGES["System"].values() if name not in ("actor", "reason")),
}
ACTIONS = {kind: [f"{kind}.{word}" for word in words.split()] for kind, words in ACTION_WORDS.items()}
CONSENTS = ["none", "outside", "requested", "rejected", "expired", "approved", "other_tool", "used", "lapsed", "other_arguments"]
APPROVAL = 5  # the relation of a cause


def uuid(b):
    h = b.hex()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:])) if h else ""


class Fact:
    def __init__(self, leaf, producer, e):
        self.index, self.time, self.verdict, self.producer, self.e = leaf.index, leaf.time, leaf.verdict, PRODUCERS[producer], e
        self.kind, self.x = KINDS[e["kind"] - 1], e["body"]
        self.detail = e.get("detail", "")
        self.action = f"system.{self.detail}" if self.detail else ACTIONS[self.kind][self.x["action"] - 1]
        self.d = self.x[self.detail] if self.detail else {}
        self.decided, self.approval, self.answer, self.pace, self.late = "", "none", None, "none", False

    def of(self, kind, name, default=0):
        """A field of the body, if it is of this kind."""
        return self.x.get(name, default) if self.kind == kind else default

    def system(self, detail, name, default=0):
        return self.d.get(name, default) if self.detail == detail else default

    def change(self):
        """What a system event does to its object."""
        if self.detail == "key":
            return KEY_ACTIONS[self.d["action"]]
        if self.detail == "grant":
            return "taken" if self.d["revoked"] else "given"
        return {"manifest": "in_force", "export_key": "in_force", "rule": self.d.get("mode", "")}.get(self.detail, "")


class Calls:
    """What was decided and answered about calls."""

    def __init__(self):
        self.proposed, self.decided, self.answers, self.by_event = {}, {}, {}, {}
        self.people, self.times, self.due = {}, {}, {}

    def add(self, f):
        if f.verdict == KEY_INVALID:
            return
        call = (f.e["instance"], f.e["run"], f.x.get("call", ""))
        if f.kind == "approval":
            answer = {"state": f.action.split(".")[1], "tool": f.x["tool"], "until": f.x["valid_until"], "index": f.index, "used": False,
                      "arguments": self.proposed.get(call, b"") if f.x["call"] else b"",
                      "vouched": f.action == "approval.approved" and self.vouches(f, call)}
            self.by_event[f.e["id"]] = answer
            if f.x["call"]:
                self.answers[call] = answer
        elif f.action == "system.approval":
            self.step(f)
        elif f.action == "system.review":
            due, self.due[f.d["topic"], f.d["subject"]] = self.due.get((f.d["topic"], f.d["subject"]), 0), f.d["next_at"]
            f.late = 0 < due < f.time
        elif f.action == "execution.proposed" and f.x["arguments_digest"]:
            self.proposed[call] = f.x["arguments_digest"]
        elif f.action == "execution.decided":
            self.decided[call] = DECISIONS[f.x["decision"]]
        elif f.action == "execution.started":
            self.start(f, call)
        elif f.action in ("execution.finished", "execution.failed"):
            self.proposed.pop(call, None)
            self.decided.pop(call, None)
            if f.action == "execution.finished":
                self.answers.pop(call, None)

    def step(self, f):
        """A step of a question to approvers, as Custody recorded it."""
        if f.d["state"] not in (2, 3):
            return
        times = [t for t in self.times.get(f.x["actor"], []) if f.time - t < 60 * 10**9] + [f.time]
        self.times[f.x["actor"]], f.pace = times[-5:], "burst" if len(times) >= 5 else "steady"
        if f.d["state"] == 3:
            self.people[f.e["id"]] = ((f.d["instance"], f.d["run"], f.d["call"]), f.x["actor"], f.d["shown_digest"])

    def vouches(self, f, call):
        return any(self.people.get(c["id"]) == (call, f.x["approver"], f.x["shown_digest"])
                   for c in f.e["causes"] if c["relation"] == APPROVAL)

    def start(self, f, call):
        f.decided = self.decided.get(call, "")
        named = [c["id"] for c in f.e["causes"] if c["relation"] == APPROVAL]
        f.answer = self.by_event.get(named[-1]) if named else None
        f.answer = f.answer or self.answers.get(call)
        f.approval = covers(f.answer, f) if f.answer else "outside" if named else "none"


def covers(answer, f):
    """Whether an answer allows a start, which uses it."""
    if answer["state"] != "approved":
        return "requested" if answer["state"] == "escalated" else answer["state"]
    if answer["tool"] and answer["tool"] != f.x["tool"]:
        return "other_tool"
    if answer["arguments"] and f.x["arguments_digest"] not in (b"", answer["arguments"]):
        return "other_arguments"
    if answer["until"] and f.e["occurred_at"] > answer["until"]:
        return "lapsed"
    if not answer["until"] and answer["used"]:
        return "used"
    answer["used"] = True
    return "approved"
