"""Populations and controls: what follows from the records of the range that are here (docs/FORMAT.md, section 8)."""

import re
import time

from events import KEY_INVALID, KINDS, VERDICTS
from parts import instant, need, read_json, to_json

COMMON = "record,received,judgement,event,producer,instance,"
FILES = {  # the columns after these
    "sensitive-actions": "run,principal,call,attempt,tool,operation,connector,destination,arguments_sha256,decision,approval,approval_record",
    "approvals": "run,principal,action,approver,call,tool,subject_event,shown_sha256,shown_at,valid_until,escalated_to,reason",
    "grants": "actor,principal,role,change,all_tenants,certificate_sha256,reason",
    "changes": "actor,object,change,name,version,sha256,reason",
    "containments": "actor,state,target,level,plan,step,evidence,reason",
    "reviews": "actor,topic,subject,outcome,next_at,reason",
}
ACTIONS = {
    "identity": "epoch_opened epoch_closed heartbeat run_started run_ended credential_bound credential_used credential_released delegated "
                "role_assumed",
    "data": "input_received document_retrieved memory_read memory_written resource_read resource_written resource_exported content_finding",
    "execution": "proposed decided started finished failed retried validated",
    "approval": "requested approved rejected escalated expired",
    "system": "genesis instance manifest key grant rule containment hold erasure access refusal finding review",
}
PRODUCER = ["none", "agent", "gateway", "importer", "custody"]
TRUST = ["none", "trusted", "untrusted", "checked"]
DECISION = ["none", "allow", "block", "needs_approval"]
ROLE = ["none", "admin", "auditor", "analyst", "responder", "approver", "operator"]
STATE = ["none", "requested", "delivered", "acknowledged", "verified", "released", "proposed", "intended", "unproven"]
CONSENT = ["none", "outside", "requested", "rejected", "expired", "approved", "other_tool", "used", "lapsed"]
GIVEN, YES = ["none", "given"], ["no", "yes"]
TERMS = {  # the values of each term
    "kind": ["none", *KINDS], "action": ["none", *(f"{k}.{a}" for k in KINDS for a in ACTIONS[k].split())],
    "judgement": ["none", *VERDICTS[1:]], "producer": PRODUCER, "age": ["recent", "old"], "trust": TRUST, "principal": GIVEN,
    "causes": ["none", "inferred", "recorded"], "consequence": ["none", "low", "moderate", "high"], "decision": DECISION,
    "decided": DECISION, "approval": CONSENT, "attempts": ["none", "few", "many"], "destination": GIVEN,
    "outcome": ["none", "ok", "error", "denied", "cancelled", "timeout"], "direction": ["none", "in", "out"],
    "approver": ["none", "self", "other"], "shown": GIVEN, "considered": ["unknown", "hasty", "yes"], "version": GIVEN, "prompt": GIVEN,
    "tools": GIVEN, "runtime": GIVEN, "scopes": GIVEN, "expiry": GIVEN, "actor": GIVEN,
    "change": ["none", "enrolled", "revoked", "suspected", "in_force", "given", "taken", "shadow", "live", "off"], "role": ROLE,
    "everywhere": YES, "state": STATE, "opened": YES, "topic": ["none", "memory", "retrieval", "access", "scope", "sharing"],
    "result": ["none", "approved", "rejected", "changes"], "next": GIVEN,
}
SHOWN = [(0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x24F), (0x370, 0x3FF), (0x400, 0x481), (0x48A, 0x52F), (0x3041, 0x3096), (0x30A1, 0x30FC),
         (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)]
LONG, HASTY = 183 * 24 * 3600 * 10**9, 3 * 10**9
TEST = {"id": str, "what": str, "select": str, "require": str, "state": str, "population": int, "exceptions": int, "unseen": int,
        "records?": [int], "events?": [str], "exception_records?": [int], "exception_events?": [str]}
CONTROL = {"id": str, "title": str, "note": str, "tests": [str], "state": str}
MAPPING = {"version": 1, "tests": [TEST], "frameworks": [{"id": str, "name": str, "source": str, "note": str, "controls": [CONTROL]}]}


# -- cells --


def text(s):
    if not s:
        return ""
    out = "".join(c if any(a <= ord(c) <= b for a, b in SHOWN) else
                  f"\\x{ord(c):02x}" if c < "\x80" else f"\\u{ord(c):04x}" if c < "\U00010000" else f"\\U{ord(c):08x}" for c in s)
    return '"' + "'" * (s.lstrip(" ")[:1] in tuple("=+-@")) + out.replace('"', '""') + '"'


def moment(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09}Z" if ns else ""


def uuid(b):
    h = b.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" if b else ""


def named(values, n):
    return values[n] if n else ""


# -- what the records before say about a start --


class Calls:
    def __init__(self):
        self.decided, self.answers, self.by_event = {}, {}, {}

    def add(self, f):
        e, x = f["event"], f["body"]
        call = (e["instance"], e["run"], x.get("call"))
        if e["kind"] == 4:
            state = {2: "approved", 3: "rejected", 5: "expired"}.get(x["action"], "requested")
            answer = {"state": state, "used": False, "record": f["index"], "until": x["valid_until"], "tool": x["tool"]}
            self.by_event[e["id"]] = answer
            if x["call"]:
                self.answers[call] = answer
        elif e["kind"] == 3 and x["action"] == 2:
            self.decided[call] = x["decision"]
        elif e["kind"] == 3 and x["action"] == 3:
            self.start(f, call)
        elif e["kind"] == 3 and x["action"] in (4, 5):
            self.decided.pop(call, None)
            if x["action"] == 4:
                self.answers.pop(call, None)

    def start(self, f, call):
        f["decided"] = self.decided.get(call, 0)
        names = [c["id"] for c in f["event"]["causes"] if c["relation"] == 6]
        answer = next((self.by_event[i] for i in reversed(names) if i in self.by_event), None) or self.answers.get(call)
        f["answer"] = answer
        f["approval"] = self.covers(answer, f) if answer else "outside" if names else "none"

    @staticmethod
    def covers(answer, f):
        if answer["state"] != "approved":
            return answer["state"]
        if answer["tool"] and answer["tool"] != f["body"]["tool"]:
            return "other_tool"
        if answer["until"] and f["event"]["occurred_at"] > answer["until"]:
            return "lapsed"
        if not answer["until"] and answer["used"]:
            return "used"
        answer["used"] = True
        return "approved"


# -- rows --


def change(detail, x):
    if detail == "key":
        return ["enrolled", "revoked", "suspected"][x["action"] - 1]
    return {"manifest": "in_force", "rule": x.get("mode"), "grant": "taken" if x.get("revoked") else "given"}.get(detail, "none")


def row(f):
    """The population of a record and its cells after the common ones, if it belongs to one."""
    e, x = f["event"], f["body"]
    if e["kind"] == 3 and x["action"] == 3 and x["consequence"] == 3:
        who = [text(e["run"]), text(e["principal"]), text(x["call"]), str(x["attempt"])]
        what = [text(x[k]) for k in ("tool", "operation", "connector", "destination")] + [x["arguments_digest"].hex()]
        return "sensitive-actions", who + what + [named(DECISION, f["decided"]), f["approval"], str(f["answer"]["record"]) if f["answer"] else ""]
    if e["kind"] == 4:
        return "approvals", [
            text(e["run"]), text(e["principal"]), ACTIONS["approval"].split()[x["action"] - 1], text(x["approver"]), text(x["call"]),
            text(x["tool"]), uuid(x["subject_event"]), x["shown_digest"].hex(), moment(x["shown_at"]), moment(x["valid_until"]),
            text(x["escalated_to"]), text(x["reason"])]
    if e["kind"] != 5:
        return None, []
    detail, actor, reason = e["detail"], text(x["actor"]), text(x["reason"])
    d = x[detail]
    if detail == "grant":
        return "grants", [actor, text(d["principal"]), ROLE[d["role"]], change(detail, d), YES[d["all_tenants"]], d["certificate"].hex(), reason]
    if detail == "key":
        return "changes", [actor, "key", change(detail, d), text(d["instance"]), "", d["key_id"].hex(), reason]
    if detail in ("manifest", "rule"):
        name = d["instance"] if detail == "manifest" else d["rule"]
        return "changes", [actor, detail, change(detail, d), text(name), str(d["version"]), d["source_digest"].hex(), reason]
    if detail == "containment":
        return "containments", [actor, STATE[d["state"]], text(d["target"]), d["level"], text(d["plan"]), str(d["step"]), text(d["evidence"]), reason]
    if detail == "review":
        return "reviews", [actor, d["topic"], text(d["subject"]), d["outcome"], moment(d["next_at"]), reason]
    return None, []


# -- queries --


def parse_query(q):
    need(len(q.encode()) <= 512, "length of a query")
    conditions = []
    for word in q.split(" ") if q else []:
        m = re.fullmatch(r"([a-z]+)(!?)=(.*)", word, re.ASCII)
        values = m[3].split("|") if m else []
        need(m and m[1] in TERMS and len(set(values)) == len(values) and set(values) <= set(TERMS[m[1]]), f"query {q!r}")
        conditions.append((m[1], {v for v in TERMS[m[1]] if (v in values) != bool(m[2])}))
    return conditions


def kinds_of(conditions):
    """The kinds of records that a query can pick."""
    actions = set(TERMS["action"])
    for term, values in conditions:
        if term == "action":
            actions &= values
        elif term == "kind":
            actions &= {a for a in actions if a.split(".")[0] in values and a != "none"}
    return {KINDS.index(a.split(".")[0]) + 1 for a in actions - {"none"}}


def given(value):
    return "given" if value else "none"


def terms(f):
    """What a query can ask of a record."""
    e, x, kind = f["event"], f["body"], f["event"]["kind"]
    action = e["detail"] if kind == 5 else ACTIONS[KINDS[kind - 1]].split()[x["action"] - 1]
    d = x[e["detail"]] if kind == 5 else {}
    is_ = e.get("detail")
    credential, took = x.get("credential") or {}, e["occurred_at"] - x.get("shown_at", 0)
    approver = x.get("approver") if kind == 4 else ""
    return {
        "kind": KINDS[kind - 1], "action": f"{KINDS[kind - 1]}.{action}", "judgement": VERDICTS[f["leaf"].verdict],
        "producer": PRODUCER[f["producer"]], "age": "old" if f["old"] else "recent", "trust": TRUST[e["trust"]],
        "principal": given(e["principal"]),
        "causes": "none" if not e["causes"] else "recorded" if any(c["basis"] == 1 for c in e["causes"]) else "inferred",
        "consequence": TERMS["consequence"][x["consequence"] if kind == 3 else 0], "decision": DECISION[x["decision"] if kind == 3 else 0],
        "decided": DECISION[f["decided"]], "approval": f["approval"],
        "attempts": "none" if kind != 3 or not x["attempt"] else "few" if x["attempt"] <= 5 else "many",
        "destination": given(kind == 3 and x["destination"]), "outcome": TERMS["outcome"][x["outcome"] if kind in (1, 3) else 0],
        "direction": TERMS["direction"][x["direction"] if kind == 2 else 0],
        "approver": "none" if not approver else "self" if approver in (e["principal"], *e["on_behalf_of"]) else "other",
        "shown": given(kind == 4 and x["shown_digest"]),
        "considered": "unknown" if kind != 4 or not x["shown_at"] or took < 0 else "hasty" if took < HASTY else "yes",
        "version": given(kind == 1 and x["agent_version"]), "prompt": given(kind == 1 and x["system_prompt_digest"]),
        "tools": given(kind == 1 and x["tool_list_digest"]), "runtime": given(kind == 1 and "runtime" in x),
        "scopes": given(kind == 1 and credential.get("scopes")), "expiry": given(kind == 1 and credential.get("expires_at")),
        "actor": given(kind == 5 and x["actor"]), "change": change(is_, d) if kind == 5 else "none",
        "role": ROLE[d["role"] if is_ == "grant" else 0], "everywhere": YES[bool(is_ == "grant" and d["all_tenants"])],
        "state": STATE[d["state"] if is_ == "containment" else 0], "opened": YES[bool(is_ == "access" and d["opened"])],
        "topic": d["topic"] if is_ == "review" else "none", "result": d["outcome"] if is_ == "review" else "none",
        "next": given(is_ == "review" and d["next_at"]),
    }


class Lists:
    """The part of a verification that is about populations and controls."""

    def begin_lists(self):
        self.calls, self.rows = Calls(), {name: [COMMON + columns] for name, columns in FILES.items()}
        self.unseen, self.mapping, self.parsed = dict.fromkeys(range(1, 6), 0), None, []
        self.check("controls", self.read_controls)

    def read_controls(self):
        m = read_json(self.files["controls.json"], MAPPING)
        ids = [t["id"] for t in m["tests"]]
        need(len(ids) <= 256 and len(m["frameworks"]) <= 16 and len(set(ids)) == len(ids), "questions")
        need(all(len(f["controls"]) <= 256 for f in m["frameworks"]), "controls")
        need(all(set(c["tests"]) <= set(ids) for f in m["frameworks"] for c in f["controls"]), "a control of no question")
        self.parsed = [(parse_query(t["select"]), parse_query(t["require"]), [], []) for t in m["tests"]]
        self.counts = [[0, 0] for _ in m["tests"]]
        self.mapping = m

    def observe(self, m, key, content):
        """The records of a message that are here, in their order."""
        if m.form != 1 or not all(leaf for _, leaf in m.leaves):
            return
        producer = key["producer"] if key and key["from"] <= m.first < key["to"] else 0
        for (i, leaf), e in zip(m.leaves, content):
            if e:
                self.fact({"index": i, "leaf": leaf, "producer": producer, "event": e, "body": e["body"], "decided": 0, "approval": "none",
                           "answer": None, "old": leaf.time < instant(self.scope["to"]) - LONG})
            elif self.states[i] in (2, 3, 4) and leaf.kind in self.unseen:
                self.unseen[leaf.kind] += 1

    def fact(self, f):
        if f["leaf"].verdict != KEY_INVALID:
            self.calls.add(f)
        name, cells = row(f)
        if name:
            e = f["event"]
            common = [str(f["index"]), moment(f["leaf"].time), VERDICTS[f["leaf"].verdict], uuid(e["id"]), named(PRODUCER, f["producer"]),
                      text(e["instance"])]
            self.rows[name].append(",".join(common + cells))
        if self.mapping:
            values = terms(f)
            for (select, require, picked, wrong), count in zip(self.parsed, self.counts):
                if all(values[t] in allowed for t, allowed in select):
                    count[0] += 1
                    picked.append((f["index"], uuid(f["event"]["id"])))
                    if not all(values[t] in allowed for t, allowed in require):
                        count[1] += 1
                        wrong.append((f["index"], uuid(f["event"]["id"])))
                    del picked[20:], wrong[20:]

    def check_lists(self):
        for name, lines in self.rows.items():
            same = bytes(self.files[f"populations/{name}.csv"]) == ("\n".join(lines) + "\n").encode()
            self.check("populations", need, same, f"{name}.csv is not what the records give")
        if self.mapping:
            same = bytes(self.files["controls.json"]) == to_json(self.answer()).encode()
            self.check("controls", need, same, "not what the records answer")

    def answer(self):
        tests, states = [], {}
        for t, (select, _, picked, wrong), (population, exceptions) in zip(self.mapping["tests"], self.parsed, self.counts):
            unseen = sum(self.unseen[k] for k in kinds_of(select))
            state = "exception" if exceptions else "not-evidenced" if not population or unseen and t["require"] else "supported"
            states[t["id"]] = state
            lists = {"records": [i for i, _ in picked], "events": [e for _, e in picked],
                     "exception_records": [i for i, _ in wrong], "exception_events": [e for _, e in wrong]}
            tests.append({k: t[k] for k in ("id", "what", "select", "require")} | {"state": state, "population": population,
                         "exceptions": exceptions, "unseen": unseen} | {k: v for k, v in lists.items() if v})
        frameworks = [f | {"controls": [c | {"state": self.control(c, states)} for c in f["controls"]]} for f in self.mapping["frameworks"]]
        self.mapping = {"version": 1, "tests": tests, "frameworks": frameworks}
        return self.mapping

    @staticmethod
    def control(c, states):
        found = {states[t] for t in c["tests"]}
        return "exception" if "exception" in found else "supported" if found == {"supported"} else "not-evidenced"

    def lists_verdict(self):
        """The part of a verdict. Whether the questions are its own is not for this verifier, which has none."""
        rows = {f"populations/{name}.csv": len(lines) - 1 for name, lines in getattr(self, "rows", {}).items()}
        states = [c["state"] for f in (getattr(self, "mapping", None) or {"frameworks": []})["frameworks"] for c in f["controls"]]
        return {"populations": rows, "controls": {"known": False, "supported": states.count("supported"),
                "exceptions": states.count("exception"), "not_evidenced": states.count("not-evidenced")}}


