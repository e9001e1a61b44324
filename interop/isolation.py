#!/usr/bin/env python3
"""Checks a statement of isolation offline, as custody-verify does.

    isolation.py STATEMENT [--policy FILE] [--bundle FILE]

Written from docs/FORMAT.md alone: section 9, and what that takes from sections 5, 7 and 8. With the bundle of the same period beside it
the statement is held to the tenant's own records. Names of checks and exit codes are those of section 9.
"""

import argparse
import base64
import re
import sys
import time
import uuid

from anchors import Anchored
from outside import Outside
from parts import BASE64, HEX, LINE, SCOPE, TIME, Wrong, included, instant, need, read_checkpoint, read_json, read_policy, sha, to_json
from records import Leaf
from scopes import check_scope
from verify import Verification, open_bundle

TYPE_ISOLATION = "application/vnd.custody.isolation.v1+json"
MOST, MOST_CONNECTIONS, MOST_TEXT = 16 << 20, 1 << 16, 4096
KINDS = ["credential", "connector", "memory", "artefact", "cause", "effect"]
REVIEW = {"record": int, "at": TIME, "reviewer": str, "outcome": str, "until": TIME, "reason": str}
CONNECTION = {"kind": str, "value": str, "with": str, "records": int, "first": int, "last": int, "review?": REVIEW}
ISOLATION = {"version": 1, "says": str, "made_at": TIME, "scope": SCOPE, "unseen": int, "checkpoint": str,
             "bounds": [{"leaf": BASE64, "path": [HEX]}], "connections": [CONNECTION]}
# name, exit code, rests on the policy
CHECKS = [("format", 12, False), ("policy", 13, True), ("envelope", 14, True), ("checkpoint", 15, True), ("witnesses", 25, True), ("range", 16, False),
          ("boundaries", 17, False), ("bundle", 23, True), ("connections", 23, False)]


def spoken(text):
    """A time as the first line has it: decimals only if there are any."""
    seconds, ns = divmod(instant(text), 10**9)
    decimals = f".{ns:09d}".rstrip("0") if ns else ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + decimals + " UTC"


def allowed(connection, to):
    """Under a reviewed exception that had not ended."""
    r = connection.get("review")
    return bool(r) and r["outcome"] == "approved" and (instant(r["until"]) == 0 or instant(r["until"]) >= to)


def sentence(said):
    s, n = said["scope"], len(said["connections"])
    period = f"received from {spoken(s['from'])} until {spoken(s['to'])}"
    if n == 0:
        return f"No recorded sharing: no record of {s['tenant']} {period} is connected with a record of another tenant."
    k = sum(allowed(c, instant(s["to"])) for c in said["connections"])
    plural = "" if n == 1 else "s"
    return f"{n} recorded connection{plural} of {s['tenant']} {period} with other tenants; {k} of them under a reviewed exception."


def bounds(s):
    """The leaves on both sides of both ends, as far as the log has them."""
    return sorted({i for i in (s["begin"] - 1, s["begin"], s["end"] - 1, s["end"]) if 0 <= i < s["size"]})


def check_connection(c, s):
    need(c["kind"] in KINDS and 0 < len(c["value"].encode()) <= MOST_TEXT and re.fullmatch("tenant-[0-9a-f]{16}", c["with"]), "connection")
    need(c["records"] > 0 and s["begin"] <= c["first"] <= c["last"] < s["end"], "records of a connection")
    need(c["records"] <= c["last"] - c["first"] + 1, "more records than there is room for")
    if r := c.get("review"):
        need(r["outcome"] in ("approved", "rejected", "changes"), "outcome of a review")
        need(r["record"] < s["end"] and instant(r["at"]) < instant(s["to"]), "a review from after the range")


class Watching(Verification):
    """A bundle, of which every event that is here is shown to somebody."""

    def __init__(self, bundle, policy, watch):
        super().__init__(bundle, policy)
        self.watch = watch

    def derive(self, f):
        super().derive(f)
        self.watch(f)


class Statement(Anchored, Outside):
    def __init__(self, policy):
        self.policy, self.results, self.details = policy, {name: "not-run" for name, *_ in CHECKS}, {}
        self.init_outside()

    def check(self, name, step, *args):
        try:
            step(*args)
            if self.results[name] == "not-run":
                anchored = next(c[2] for c in CHECKS if c[0] == name)
                self.results[name] = "not-claimed" if anchored and not self.policy else "passed"
            return True
        except Wrong as e:
            self.results[name] = "failed"
            self.details.setdefault(name, str(e))
            return False

    def run(self, file, bundle=None):
        if self.check("format", self.read, file):
            self.check("policy", self.check_policy)
            self.check("envelope", self.check_envelope)
            if self.check("checkpoint", self.check_checkpoint):
                self.check("witnesses", self.check_quorum)
                for index, b in zip(bounds(self.scope), self.said["bounds"]):
                    if self.check("range", self.check_bound, index, b):
                        self.check("boundaries", self.check_side, index, b)
            if bundle is not None and self.check("bundle", self.read_bundle, bundle):
                self.results["connections"] = "passed"
                for c in self.said["connections"]:
                    self.check("connections", self.check_seen, c)
        return self.verdict()

    def read(self, file):
        first, empty, rest = file.partition(b"\n\n")
        need(empty and len(file) <= MOST, "not a sentence and an envelope")
        self.envelope = read_json(rest, LINE)
        need(len(self.envelope["signatures"]) == 1, "signatures")
        self.payload = base64.b64decode(self.envelope["payload"])
        self.said = said = read_json(self.payload, ISOLATION, line=True)
        self.scope = s = said["scope"]
        check_scope(s)
        need(not {"instance", "run", "grace"} & set(s), "about less or more than a tenant's period")
        need(said["says"] == sentence(said) and first == said["says"].encode(), "the first line is not that of the list")
        need(len(said["connections"]) <= MOST_CONNECTIONS and said["unseen"] <= s["end"] - s["begin"], "numbers of the statement")
        need(len(said["bounds"]) == len(bounds(s)), "number of bounds")
        for c in said["connections"]:
            check_connection(c, s)
        order = [(KINDS.index(c["kind"]), c["value"].encode(), c["with"]) for c in said["connections"]]
        need(all(a < b for a, b in zip(order, order[1:])), "connections out of order")

    def check_policy(self):
        p, s = self.policy, self.scope
        need(not p or (p["tenant"], p["origin"]) == (s["tenant"], s["origin"]), "another log")

    def check_envelope(self):
        signature = self.envelope["signatures"][0]
        need(self.envelope["payloadType"] == TYPE_ISOLATION, "payload type")
        self.check_signature(TYPE_ISOLATION, self.payload, base64.b64decode(signature["sig"]), signature["keyid"])

    def check_checkpoint(self):
        note = self.said["checkpoint"].encode()
        _, head, self.root = read_checkpoint(note)
        need(head == (self.scope["origin"], self.scope["size"]), "of another log or size")
        self.cosigned = self.open_note(note)[2]

    def check_quorum(self):
        need(not self.quorum or self.quorum.met({key for key, _ in self.cosigned}), "too few witnesses")

    def check_bound(self, index, bound):
        b = base64.b64decode(bound["leaf"])
        need(len(b) == 183, "size of a leaf")
        leaf = Leaf(b)
        need(leaf.index == index and leaf.origin == sha(self.scope["origin"].encode()), "of another place")
        path = [bytes.fromhex(h) for h in bound["path"]]
        need(included(leaf.hash, index, self.scope["size"], path, self.root), f"leaf {index} is not in the tree")

    def check_side(self, index, bound):
        s, at = self.scope, Leaf(base64.b64decode(bound["leaf"])).time
        begin, end = instant(s["from"]), instant(s["to"])
        need((at >= begin) == (index >= s["begin"]) and (at >= end) == (index >= s["end"]), f"leaf {index} is on the wrong side")

    def read_bundle(self, bundle):
        self.seen = {}  # records by kind and value
        beside = Watching(bundle, self.policy, self.watch)
        v = beside.run()
        need(v["exit"] < 10, f"the bundle does not verify: {v['exit']}")
        same = [k for k in ("origin", "begin", "end") if v["scope"][k] == self.scope[k]]
        need(len(same) == 3, "of other records")
        for index, b in zip(bounds(self.scope), self.said["bounds"]):
            shown = beside.low <= index < beside.high
            need(not shown or beside.leaf_bytes(index) == base64.b64decode(b["leaf"]), f"leaf {index} is another")

    def watch(self, f):
        credential, me = f.of("identity", "credential", {}), str(uuid.UUID(bytes=bytes(f.e["id"])))
        names = {"credential": bytes(credential.get("fingerprint", b"")).hex(), "memory": f.of("data", "memory_key", ""),
                 "connector": credential.get("connector", "") or f.of("execution", "connector", ""),
                 "artefact": bytes(f.of("data", "content_digest", b"")).hex(), "effect": me, "cause": me if f.e["causes"] else ""}
        for kind, value in names.items():
            if value:
                self.seen.setdefault((kind, value), []).append(f.index)

    def check_seen(self, c):
        """Of causes and effects only the event itself is in the tenant's records."""
        at = self.seen.get((c["kind"], c["value"]), [])
        need(at and at[0] == c["first"], f"{c['kind']} {c['value']}: no such record")
        need(c["kind"] in ("cause", "effect") or (len(at), at[-1]) == (c["records"], c["last"]), f"{c['kind']} {c['value']}: other records")

    def verdict(self):
        failed = [code for name, code, _ in CHECKS if self.results[name] == "failed"]
        answer = "failed" if failed else "authentic" if self.policy else "not-claimed"
        checks = [{"name": name, "result": r} | ({"detail": self.details[name]} if name in self.details else {}) for name, r in self.results.items()]
        exit = failed[0] if failed else 5 if not self.policy else 3 if self.scope["end"] == self.scope["size"] else 0
        return {"version": 1, "exit": exit, "authenticity": answer, "checks": checks}


def main():
    parser = argparse.ArgumentParser(description="Checks a statement of isolation offline.")
    parser.add_argument("statement")
    parser.add_argument("--policy")
    parser.add_argument("--bundle")
    args = parser.parse_args()
    try:
        policy = read_policy(open(args.policy, "rb").read(1 << 20)) if args.policy else None
        bundle = open_bundle(args.bundle) if args.bundle else None
        verdict = Statement(policy).run(open(args.statement, "rb").read(MOST + 1), bundle)
    except (OSError, Wrong) as e:
        print(f"isolation.py: {e}", file=sys.stderr)
        return 1
    print(to_json(verdict), end="")
    return verdict["exit"]


if __name__ == "__main__":
    sys.exit(main())
