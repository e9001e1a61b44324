"""Controls: questions about the facts, which the bundle carries, and what the facts answer (docs/FORMAT.md, section 8: controls)."""

import glob
import json
import os

from events import VERDICTS
from facts import (ACTIONS, CONSENTS, CONSEQUENCES, DECISIONS, DIRECTIONS, OUTCOMES, PRODUCERS, ROLES, STATES, TRUSTS, Calls, Fact, uuid)
from parts import need, read_json, to_json
from populations import POPULATIONS, Population

TEST = {"id": str, "what": str, "select": str, "require": str, "state": str, "population": int, "exceptions": int, "unseen": int,
        "records?": [int], "events?": [str], "exception_records?": [int], "exception_events?": [str]}
CONTROL = {"id": str, "title": str, "note": str, "tests": [str], "state": str}
FRAMEWORK = {"id": str, "name": str, "source": str, "note": str, "controls": [CONTROL]}
CONTROLS = {"version": 1, "tests": [TEST], "frameworks": [FRAMEWORK]}
NO_ANSWERS = {"known": False, "supported": 0, "exceptions": 0, "not_evidenced": 0}
NAMED = 20  # so many records are named of each population and of its exceptions
KEPT = 183 * 24 * 3600 * 10**9
HASTY = 3 * 10**9
DETAILS = ["none", "given"]
OWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "evidence", "controls")


def given(value):
    return "given" if value else "none"


def causes(f):
    found = {c["basis"] for c in f.e["causes"]}
    return "recorded" if 1 in found else "inferred" if found else "none"


def attempts(f):
    n = f.of("execution", "attempt")
    return "none" if n == 0 else "few" if n <= 5 else "many"


def approver(f):
    who = f.of("approval", "approver", "")
    return "none" if not who else "self" if who in (f.e["principal"], *f.e["on_behalf_of"]) else "other"


def considered(f):
    shown, answered = f.of("approval", "shown_at") or f.system("approval", "shown_at"), f.e["occurred_at"]
    return "unknown" if not shown or answered < shown else "hasty" if answered - shown < HASTY else "yes"


def outcome(f):
    return OUTCOMES[f.of("execution", "outcome") or f.of("identity", "outcome")]


TERMS = {  # values, and which of them a fact has; an empty one is "none"
    "kind": (["", *ACTIONS], lambda f: f.kind),
    "action": (["", *(a for actions in ACTIONS.values() for a in actions)], lambda f: f.action),
    "judgement": (VERDICTS, lambda f: VERDICTS[f.verdict]),
    "producer": (PRODUCERS, lambda f: f.producer),
    "age": (["recent", "old"], lambda f: "old" if f.old else "recent"),
    "trust": (TRUSTS, lambda f: TRUSTS[f.e["trust"]]),
    "principal": (DETAILS, lambda f: given(f.e["principal"])),
    "causes": (["none", "inferred", "recorded"], causes),
    "consequence": (CONSEQUENCES, lambda f: CONSEQUENCES[f.of("execution", "consequence")]),
    "decision": (DECISIONS, lambda f: DECISIONS[f.of("execution", "decision")]),
    "decided": (DECISIONS, lambda f: f.decided),
    "approval": (CONSENTS, lambda f: f.approval),
    "vouched": (["no", "yes"], lambda f: "yes" if f.answer and f.answer["vouched"] else "no"),
    "pace": (["none", "steady", "burst"], lambda f: f.pace),
    "attempts": (["none", "few", "many"], attempts),
    "destination": (DETAILS, lambda f: given(f.of("execution", "destination"))),
    "outcome": (OUTCOMES, outcome),
    "direction": (DIRECTIONS, lambda f: DIRECTIONS[f.of("data", "direction")]),
    "approver": (["none", "self", "other"], approver),
    "shown": (DETAILS, lambda f: given(f.of("approval", "shown_digest"))),
    "considered": (["unknown", "hasty", "yes"], considered),
    "version": (DETAILS, lambda f: given(f.of("identity", "agent_version"))),
    "prompt": (DETAILS, lambda f: given(f.of("identity", "system_prompt_digest"))),
    "tools": (DETAILS, lambda f: given(f.of("identity", "tool_list_digest"))),
    "runtime": (DETAILS, lambda f: given(f.kind == "identity" and "runtime" in f.x)),
    "scopes": (DETAILS, lambda f: given(f.of("identity", "credential", {}).get("scopes"))),
    "expiry": (DETAILS, lambda f: given(f.of("identity", "credential", {}).get("expires_at"))),
    "actor": (DETAILS, lambda f: given(f.of("system", "actor"))),
    "change": (["", "enrolled", "revoked", "suspected", "in_force", "given", "taken", "shadow", "live", "off"], lambda f: f.change()),
    "role": (ROLES, lambda f: ROLES[f.system("grant", "role")]),
    "everywhere": (["no", "yes"], lambda f: "yes" if f.system("grant", "all_tenants") else "no"),
    "state": (STATES, lambda f: STATES[f.system("containment", "state")]),
    "opened": (["no", "yes"], lambda f: "yes" if f.system("access", "opened") else "no"),
    "topic": (["", "memory", "retrieval", "access", "scope", "sharing"], lambda f: f.system("review", "topic", "")),
    "result": (["", "approved", "rejected", "changes"], lambda f: f.system("review", "outcome", "")),
    "held": (["in_time", "late"], lambda f: "late" if f.late else "in_time"),
    "next": (DETAILS, lambda f: given(f.system("review", "next_at"))),
}


class Query:
    def __init__(self, text):
        need(len(text.encode()) <= 512, "a query that is too long")
        self.conditions = [self.read(word) for word in text.split(" ")] if text else []

    def read(self, word):
        """A condition: the term and the values that fulfil it."""
        name, equals, values = word.partition("=")
        name, negated = name.removesuffix("!"), name.endswith("!")
        need(equals and name in TERMS, f"no such term: {word}")
        known, chosen = {v or "none" for v in TERMS[name][0]}, values.split("|")
        need(set(chosen) <= known and len(set(chosen)) == len(chosen), f"no such value, or twice: {word}")
        return name, known - set(chosen) if negated else set(chosen)

    def holds(self, f):
        return all((TERMS[name][1](f) or "none") in values for name, values in self.conditions)

    def actions(self):
        """The actions that fulfil the conditions about kind and action."""
        return {a for kind, actions in ACTIONS.items() for a in actions
                if all((kind if name == "kind" else a) in values for name, values in self.conditions if name in ("kind", "action"))}


class Examination:
    """The questions of controls.json, asked about the facts."""

    def __init__(self, b):
        self.mapping, self.unseen = read_json(b, CONTROLS), dict.fromkeys(range(1, 6), 0)
        need(len(self.mapping["tests"]) <= 256 and len(self.mapping["frameworks"]) <= 16, "too many questions or frameworks")
        self.questions, self.by_action = {}, {}
        for t in self.mapping["tests"]:
            need(t["id"] not in self.questions, f"question {t['id']} twice")
            self.ask(t)
        for f in self.mapping["frameworks"]:
            need(len(f["controls"]) <= 256, "too many controls")
            need(all(t in self.questions for c in f["controls"] for t in c["tests"]), f"a control of {f['id']} without its question")

    def ask(self, t):
        q = {k: t[k] for k in ("id", "what", "select", "require")} | {"state": "", "population": 0, "exceptions": 0, "unseen": 0}
        q |= {"records": [], "events": [], "exception_records": [], "exception_events": []}
        select, require = Query(t["select"]), Query(t["require"])
        self.questions[t["id"]] = q
        for a in select.actions():
            self.by_action.setdefault(a, []).append((q, select, require))
        q["kinds"] = {list(ACTIONS).index(a.split(".")[0]) + 1 for a in select.actions()}

    def add(self, f):
        for q, select, require in self.by_action.get(f.action, ()):
            if select.holds(f):
                count(q, "population", "", f)
                if not require.holds(f):
                    count(q, "exceptions", "exception_", f)

    def missing(self, kind):
        if kind in self.unseen:
            self.unseen[kind] += 1

    def answer(self):
        for q in self.questions.values():
            q["unseen"] = sum(self.unseen[kind] for kind in q.pop("kinds"))
            hidden = q["unseen"] and q["require"]
            q["state"] = "exception" if q["exceptions"] else "not-evidenced" if not q["population"] or hidden else "supported"
            for name in ("records", "events", "exception_records", "exception_events"):
                if not q[name]:
                    del q[name]
        for f in self.mapping["frameworks"]:
            for c in f["controls"]:
                c["state"] = together([self.questions[t]["state"] for t in c["tests"]])
        self.mapping["tests"] = list(self.questions.values())
        return self.mapping

    def sum(self):
        states = [c["state"] for f in self.mapping["frameworks"] for c in f["controls"]]
        return {"known": self.known(), "supported": states.count("supported"), "exceptions": states.count("exception"),
                "not_evidenced": states.count("not-evidenced")}

    def known(self):
        """Whether the questions are those of the data files of the project; never, without them."""
        tests, frameworks = own_mapping()
        asked = [{k: t[k] for k in ("id", "what", "select", "require")} for t in self.mapping["tests"]]
        return all(t in tests for t in asked) and all(bare(f) in frameworks for f in self.mapping["frameworks"])


def count(q, number, prefix, f):
    q[number] += 1
    if q[number] <= NAMED:
        q[prefix + "records"].append(f.index)
        q[prefix + "events"].append(uuid(f.e["id"]))


def together(states):
    """One exception is one too many, and everything must be supported."""
    return "exception" if "exception" in states else "supported" if states and set(states) == {"supported"} else "not-evidenced"


def bare(framework):
    return framework | {"controls": [{k: v for k, v in c.items() if k != "state"} for c in framework["controls"]]}


def own_mapping():
    """Questions and frameworks of the data files beside the Go code."""
    tests, frameworks = [], []
    for name in glob.glob(os.path.join(OWN, "*.json")):
        with open(name, encoding="utf-8") as f:
            (tests.extend if os.path.basename(name) == "tests.json" else frameworks.append)(json.load(f))
    return tests, frameworks


class Derived:
    """The part of a verification that is about what the records give."""

    def init_derived(self):
        self.calls, self.exam = Calls(), None
        self.lists = [Population(name, self.files) for name in POPULATIONS]
        self.check("controls", self.read_controls)

    def read_controls(self):
        self.exam = Examination(self.files["controls.json"])

    def observe(self, m, content, producer):
        """The events of a batch, in order; those that are not here are counted by the kinds of their leaves."""
        for (i, leaf), e in zip(m.leaves, content):
            if leaf and e:
                self.derive(Fact(leaf, producer, e))
            elif leaf and self.exam and self.states[i] in (2, 3, 4):
                self.exam.missing(leaf.kind)

    def derive(self, f):
        f.old = f.time < self.window[1] - KEPT
        self.calls.add(f)
        for p in self.lists:
            p.add(f)
        if self.exam:
            self.exam.add(f)

    def check_derived(self):
        for p in self.lists:
            self.check("populations", p.check)
        if self.exam:
            self.check("controls", self.check_controls)

    def check_controls(self):
        answer = to_json(self.exam.answer()).encode()
        self.summed = self.exam.sum()
        need(bytes(self.files["controls.json"]) == answer, "the records answer otherwise")
