#!/usr/bin/env python3
"""Checks an evidence bundle offline, as custody-verify does.

    verify.py BUNDLE [--policy FILE] [--receipts FILE]… [--crl FILE]… [-o text|json]

Written from docs/FORMAT.md alone, so that neither the format nor the verdicts rest on one program. It needs Python 3.11,
python3-cryptography (for Ed25519) and the modules beside it, and nothing else of Custody; without the data files in evidence/controls it
knows no questions of its own. Names of checks, answers and exit codes are those of section 8 there; isolation.py beside it verifies the
statements of section 9. It maps the bundle into memory and is slow: some 8,000 records a second.
"""

import argparse
import json
import mmap
import sys

from anchors import Anchored
from controls import NO_ANSWERS, Derived
from parts import (COUNTS, LAYOUT, MANIFEST, RANGE, REDACTIONS, SCOPE, TYPE_BATCH, ZEROS, Tree, Wrong, account, counted, instant, leaf_hash, need,
                   open_container, pae, read_checkpoint, read_json, read_policy, root_of, sha, signed, subtrees, to_json, verifier_key)
from events import (ACCEPTED, EQUIVOCATION, GAP, HELD, KEY_INVALID, LATE, MALFORMED, VERDICTS, Emitter, Log, decode, read_event)
from outside import Outside
from receipts import RECEIPT_CHECKS, Promised, read_receipts
from records import Leaf, Message, Proven, Reader, instance_tag, records
from scopes import Scoped, check_scope, until
from stamps import read_list

# name, exit code, a failure means that the bundle is not intact, rests on the policy
CHECKS = [
    ("container", 10, True, False), ("manifest", 11, True, False), ("format", 12, True, False), ("policy", 13, False, True),
    ("envelope", 14, False, True), ("checkpoint", 15, False, True), ("witnesses", 25, False, True),
    ("time-stamps", 26, False, True), ("anchors", 24, False, True), ("chain", 16, True, False), ("range", 16, True, False),
    ("boundaries", 17, False, False), ("selection", 17, False, False), ("genesis", 18, False, True), ("admission", 18, False, False),
    ("key", 18, False, False), ("batch-signature", 19, False, False), ("batch-content", 20, True, False), ("event-content", 20, True, False),
    ("event", 20, True, False), ("verdict", 21, False, False), ("numbering", 21, False, False), ("instance-tag", 21, False, False),
    ("last-seen", 21, False, False), ("opening", 22, True, False), ("erasure", 22, False, False), ("redactions", 23, False, False),
    ("emitters", 23, False, False), ("populations", 23, False, False), ("controls", 23, False, False),
    ("custody", 23, False, True), ("consistency", 24, False, False),
]
RECORD_CHECKS = ["chain", "range", "selection", "genesis", "admission", "key", "batch-signature", "batch-content", "event-content", "event",
                 "verdict", "numbering", "instance-tag", "last-seen", "opening", "erasure", "redactions", "emitters",
                 "populations", "controls", "consistency"]
MINUTES = 5 * 60 * 10**9


class Stop(Exception):
    """Nothing further can be examined."""


class Verification(Scoped, Anchored, Outside, Derived, Promised):
    def __init__(self, bundle, policy, crls=(), receipts=()):
        self.bundle, self.policy, self.crls, self.held = bundle, policy, crls, receipts
        self.known = CHECKS + RECEIPT_CHECKS if receipts else CHECKS
        self.results, self.details, self.receipts = {name: "not-run" for name, *_ in self.known}, {}, None
        self.scope, self.root, self.manifest, self.handlings, self.exporter = None, ZEROS, ZEROS, [], b""
        self.count, self.verdicts = dict.fromkeys(COUNTS, 0), {}
        self.vantage = dict.fromkeys(["self_reported", "gateway_observed", "imported", "custody", "unattributed"], 0)
        self.clock, self.emitters, self.spans, self.listed = {"ahead": 0, "behind": 0}, {}, {}, []
        self.recount, self.erasures, self.expired, self.log, self.head = [], [], None, None, None
        self.lists, self.summed = [], dict(NO_ANSWERS)
        self.init_outside()

    def fail(self, name, why):
        self.results[name] = "failed"
        self.details.setdefault(name, str(why))

    def done(self, *names):
        for name in names:
            if self.results[name] == "not-run":
                anchored = next(c[3] for c in self.known if c[0] == name)
                self.results[name] = "not-claimed" if anchored and not self.policy else "passed"

    def check(self, name, step, *args):
        """Runs one step of a check, and says whether it held."""
        try:
            step(*args)
            return True
        except Wrong as e:
            self.fail(name, e)
            return False

    def run(self):
        try:
            self.outside()
            self.heads()
            self.contents()
        except Stop:
            pass
        return self.verdict()

    def outside(self):
        """Container, manifest and the small files."""
        try:
            self.files, bad = open_container(self.bundle)
        except Wrong as e:
            self.fail("container", e)
            raise Stop from e
        self.manifest = sha(self.files["manifest.json"])
        good = self.check("manifest", self.check_manifest)
        if good and bad:
            self.fail("container", f"CRC-32 of {bad}")
        self.done("container")
        if not good or bad:
            raise Stop
        self.done("manifest")
        if not self.check("format", self.read_scope):
            raise Stop

    def check_manifest(self):
        m = read_json(self.files["manifest.json"], MANIFEST)
        want = [{"path": name, "size": len(self.files[name]), "sha256": sha(self.files[name]).hex(), "media_type": kind}
                for name, kind, _ in LAYOUT[2:]]
        need(m["files"] == want, "the files are not those listed")
        self.claims = m["claims"]

    def read_scope(self):
        s = read_json(self.files["scope.json"], SCOPE)
        check_scope(s)
        self.scope, self.b, self.e, self.n = s, s["begin"], s["end"], s["size"]
        self.init_scope()
        self.log, self.low, self.high = Log(s["tenant"], self.anchored), max(self.b, 1) - 1, min(self.e + 1, self.n)

        reasons = read_json(self.files["redactions.json"], REDACTIONS)["reasons"]
        need(len(reasons) <= 1024, "too many reasons")
        self.recount = [{"reason": r["reason"], "fields": 0, "records": 0} for r in reasons]

    def read_small(self):
        self.range = read_json(self.files["log/range.json"], RANGE)
        need(len(self.files["log/leaves.bin"]) == 183 * (self.high - self.low), "number of leaves")

    def read_checkpoint(self):
        self.note, self.head, self.root = read_checkpoint(bytes(self.files["log/checkpoint"]))

    def heads(self):
        """What the policy vouches for."""
        s, p = self.scope, self.policy
        if p and (s["tenant"], s["origin"]) != (p["tenant"], p["origin"]):
            self.fail("policy", "another log")
        self.check("envelope", self.check_envelope)
        self.check("custody", self.check_custody)
        if self.check("format", self.read_checkpoint):
            self.check("checkpoint", self.check_checkpoint)
            self.done("checkpoint")
        self.done("policy", "envelope", "custody")
        if self.head != (s["origin"], self.n) or not self.check("format", self.confirmations) or not self.check("format", self.read_small):
            raise Stop

    def contents(self):
        """The records. If one is not in its format, what rests on records is not judged, unless it failed before."""
        self.check("boundaries", self.check_boundaries)
        self.done("boundaries")
        try:
            self.check_leaves()
            if not self.check("range", self.check_numbers_of_hashes):
                self.results["chain"] = "not-run"
                return
            self.check("range", self.check_range)
            self.fold_proven("keys/before.bin", 0, self.b)
            self.fold_proven("keys/range.bin", self.b, self.e)
            self.heads_before()
            self.init_derived()
            self.walk()
            self.heads_after()
            self.fold_proven("keys/after.bin", self.e, self.n)
            self.check("selection", self.check_selection)
            self.accounts()
        except Wrong as e:
            self.fail("format", e)
            raise Stop from e
        self.done("format", *RECORD_CHECKS)
        self.check_receipts()

    def leaf_bytes(self, index):
        return bytes(self.files["log/leaves.bin"][183 * (index - self.low):][:183])

    def check_boundaries(self):
        s, t = self.scope, lambda i: int.from_bytes(self.leaf_bytes(i)[73:81], "big")
        for edge, i in ((instant(s["from"]), self.b), (until(s), self.e)):
            need(i == 0 or t(i - 1) < edge, f"leaf {i - 1} is not before the edge")
            need(i == self.n or edge <= t(i), f"leaf {i} is before the edge")

    def check_leaves(self):
        self.leaves, before, origin = {}, None, sha(self.scope["origin"].encode())
        for i in range(self.low, self.high):
            try:
                self.leaves[i] = leaf = Leaf(self.leaf_bytes(i))
                need(leaf.origin == origin and leaf.index == i, "of another log or index")
                need(not before or leaf.prev == before.hash and leaf.time >= before.time, "does not follow the leaf before")
                before = leaf
            except Wrong as e:
                self.fail("chain", f"leaf {i}: {e}")
                before = None

    def check_numbers_of_hashes(self):
        r = self.range
        need((r["begin"], r["end"], r["size"]) == (self.low, self.high, self.n), "of other leaves")
        wanted = len(list(subtrees(0, self.low))), len(list(subtrees(self.high, self.n)))
        need(wanted == (len(r["left"]), len(r["right"])), "number of hashes")

    def check_range(self):
        r, tree = self.range, Tree()
        for k, h in zip(subtrees(0, self.low), r["left"]):
            tree.push(k, bytes.fromhex(h))
        for i in range(self.low, self.high):
            tree.push(0, leaf_hash(self.leaf_bytes(i)))
        for k, h in zip(subtrees(self.high, self.n), r["right"]):
            tree.push(k, bytes.fromhex(h))
        need(tree.root() == self.root, "another root")

    def proven(self, name, begin, end, check):
        """The proven records of a file that hold."""
        last = -1
        for record in records(self.files[name], 2 << 20):
            p = Proven(record)
            if self.check("admission", p.read, self.scope, last, begin, end):
                good = self.check("admission", check, p)
                if self.check("admission", p.check_tree, self.n, self.root) and good:
                    yield p
            last = p.first

    def fold_proven(self, name, begin, end):
        """System events from outside the range, and from inside it for a part of a tenant."""
        check = self.check_system if self.instance or name != "keys/range.bin" else self.check_whole
        for p in self.proven(name, begin, end, check):
            for leaf, e in zip(p.leaves, p.events):
                self.log.apply(leaf.index, e)

    def check_whole(self, p):
        raise Wrong("among the records of a whole tenant")

    def check_system(self, p):
        need(p.hashes and p.s["instance"] == "custody", "not a whole batch of Custody's own")
        if p.first == 0 and p.leaves[0].index == 0 and p.events[0]:
            self.log.apply(0, p.events[0])
        key = self.log.keys.get(p.s["key_id"])
        need(key and key["producer"] == 4, "not by the system key")
        need(all(e and leaf.verdict == ACCEPTED for leaf, e in zip(p.leaves, p.events)), "not accepted system events")
        p.check_signer(key, self.log.salts.get("custody"))

    def heads_before(self):
        for p in self.proven("batches/before.bin", 0, self.b, self.check_before):
            self.emitters[p.s["key_id"]] = Emitter(p.s)

    def check_before(self, p):
        need(p.s["key_id"] not in self.emitters, "a second head")
        self.check_neighbour(p)

    def check_neighbour(self, p):
        key, leaf = self.log.keys.get(p.s["key_id"]), p.leaves[0]
        need(len(p.leaves) == 1 and leaf.position == 0 and not p.events[0] and not p.hashes, "more than its first leaf")
        need(leaf.kind != 255 and leaf.verdict != LATE, "moves no head")
        need(key and key["instance"] == p.s["instance"], "key not admitted")
        need(leaf.verdict == KEY_INVALID or key["from"] <= leaf.index < key["to"], "the key does not count")
        p.check_signer(key, self.log.salts.get(p.s["instance"]))

    def heads_after(self):
        seen = set()
        for p in self.proven("batches/after.bin", self.e, self.n, lambda p: self.check_after(p, seen)):
            seen.add(p.s["key_id"])
            e = self.emitters[p.s["key_id"]]
            if e.head and e.place(p.s) == "follows" and p.leaves[0].verdict in (ACCEPTED, HELD):
                how = "continued" if p.s["epoch_no"] == e.head["epoch_no"] else "closed-by-successor"
                e.end(how, e.head["epoch_no"])
        self.check("admission", need, all(e.begins for e in self.emitters.values()), "a head of no emitter of the range")

    def check_after(self, p, seen):
        e = self.emitters.get(p.s["key_id"])
        need(e and e.begins and p.s["key_id"] not in seen, "of no emitter of the range")
        self.check_neighbour(p)

    def walk(self):
        """The messages of the range with their events and openings."""
        self.events, self.opened = records(self.files["events/range.bin"], 5 << 20), self.read_openings()
        self.opening, at = next(self.opened, None), self.b
        for record in records(self.files["batches/range.bin"], 1 << 16):
            m = Message(record, self.b, self.e)
            need(m.begin == at or self.instance and m.begin > at, "messages not in order")
            self.others(at, m.begin)
            at = m.end
            self.message(m)
        at = self.others(at, self.e) if self.instance else at
        need(at == self.e and next(self.events, None) is None, "a record missing or too many")
        need(not self.opening, "an opening of no leaf of the range")

    def read_openings(self):
        last = (-1, -1)
        for record in records(self.files["openings/range.bin"], (16 << 20) + 43):
            r = Reader(record)
            o = {"at": (r.number(8), r.number(2)), "state": r.number(1)}
            need(o["at"] > last and o["state"] in (1, 3, 5), "openings out of order, or an unknown state")
            if o["state"] == 1:
                o |= {"salt": r.take(32), "value": r.rest()}
            elif o["state"] == 3:
                o["reason"] = r.number(2)
            else:
                o |= {"tombstone": r.number(8), "generation": r.number(4)}
            r.end()
            last = o["at"]
            yield o

    def message(self, m):
        self.absent, self.states = set(), {}
        m.leaves = [(i, self.leaves.get(i)) for i in range(m.begin, m.end)]
        content = [self.content(m, i, leaf) for i, leaf in m.leaves]
        if m.first == 0 and content[0] and content[0].get("detail") == "genesis":
            self.log.apply(0, content[0])
        key = self.log.keys.get(m.s["key_id"]) if m.s else None
        for i, leaf in m.leaves:
            if leaf and self.states[i] != 6:
                self.count_leaf(m, leaf, key)
        self.covered(m)
        self.check("verdict", self.check_verdicts, m, key)
        if m.s:
            self.check_batch(m, key)
            self.check("batch-content", self.check_content, m)
            self.check("instance-tag", self.check_tags, m)
            self.check("last-seen", self.check_last_seen, m)
            self.check("numbering", self.check_numbers, m, content)
            self.follow(m, content, self.states.values())
        if m.form == 1:
            self.observe(m, content, key["producer"] if key and key["from"] <= m.first < key["to"] else 0)
        if key and key["producer"] == 4 and m.form == 1:
            self.fold_range(m, content)

    def count_leaf(self, m, leaf, key):
        name = VERDICTS[leaf.verdict]
        self.verdicts[name] = self.verdicts.get(name, 0) + 1
        known = key and m.form == 1 and key["from"] <= m.first < key["to"]
        self.vantage[list(self.vantage)[key["producer"] - 1] if known else "unattributed"] += 1

    def check_batch(self, m, key):
        verdicts = {leaf.verdict for _, leaf in m.leaves if leaf}
        counts = key and key["from"] <= m.first < key["to"]
        if not key or key["instance"] != m.s["instance"] or m.s["tenant"] != self.scope["tenant"]:
            self.fail("key", f"message at {m.first}: key not admitted for this instance")
        elif not counts and verdicts - {KEY_INVALID, EQUIVOCATION}:
            self.fail("key", f"message at {m.first}: the key does not count")
        if key and not signed(key["public"], pae(TYPE_BATCH, m.statement), m.signature):
            self.fail("batch-signature", f"message at {m.first}")
        if counts and KEY_INVALID in verdicts:
            self.fail("verdict", f"message at {m.first}: the key counts")
        self.spans.setdefault(m.s["key_id"], []).append((m.begin, m.end))

    def check_verdicts(self, m, key):
        late = {leaf.verdict == LATE for _, leaf in m.leaves if leaf}
        need(len(late) < 2, f"message at {m.first}: late in part")
        for i, leaf in m.leaves:
            if leaf and m.form == 1:
                need(leaf.kind != 255 and leaf.verdict <= HELD and (leaf.verdict != GAP or i == m.first), f"leaf {i}")
            elif leaf:
                need(leaf.kind == 255 and leaf.verdict == (EQUIVOCATION if m.s else MALFORMED) and leaf.position == 0, f"leaf {i}")
                need(m.s or leaf.batch == leaf.tag == ZEROS, f"leaf {i}: not blank")

    def check_content(self, m):
        for i, leaf in m.leaves:
            need(not leaf or (leaf.batch, leaf.position) == (m.s["digest"], i - m.first), f"leaf {i} of another batch or place")
        if m.form == 1 and all(leaf for _, leaf in m.leaves):
            root = root_of(m.before + [leaf.event for _, leaf in m.leaves] + m.after)
            need(root == m.s["event_root"], f"message at {m.first}: event root")

    def check_tags(self, m):
        salt = self.log.salts.get(m.s["instance"])
        need(salt, f"message at {m.first}: instance without a salt")
        tag = instance_tag(salt, m.s["instance"])
        need(all(not leaf or leaf.tag == tag for _, leaf in m.leaves), f"message at {m.first}")

    def check_last_seen(self, m):
        if seen := m.s.get("last_seen"):
            leaf = self.leaves.get(seen["index"])
            need(seen["index"] < m.first and (not leaf or leaf.hash == seen["leaf_hash"]), f"message at {m.first}")
            if leaf and m.s["created_at"] < leaf.time - MINUTES:
                self.clock["behind"] += m.end - m.begin

    def check_numbers(self, m, content):
        e = self.emitters.setdefault(m.s["key_id"], Emitter())
        e.instance = m.s["instance"]
        if m.form == 2:
            return e.whole(m.s)
        leaf = m.leaves[0][1]
        verdict = leaf.verdict if leaf and leaf.verdict != HELD else ACCEPTED
        last = content[-1]
        try:
            e.batch(m.s, verdict, m.end - m.begin)
        finally:
            if e.head is m.s and last and last.get("kind") == 1 and last["body"]["action"] == 2:
                e.epochs[m.s["epoch_no"]]["ends"] = "closed"

    def fold_range(self, m, content):
        for (i, leaf), e in zip(m.leaves, content):
            if leaf and leaf.verdict == ACCEPTED:
                if not e and i in self.absent:
                    self.fail("admission", f"leaf {i}: Custody's own event is left out")
                elif e and e["kind"] == 5 and i > 0 and self.log.own(m.s["key_id"]):
                    self.log.apply(i, e)

    def content(self, m, i, leaf):
        """Reads one record of events/range.bin and the openings of its event."""
        record = next(self.events, None)
        need(record, "an event is missing")
        r = Reader(record)
        state = r.number(1)
        need(state in (1, 2, 3, 4, 6), "unknown state of an event")
        self.states[i] = state
        self.count["records"] += 1
        self.count[["", "clear", "held", "withheld", "expired", "", "outside"][state]] += 1
        e = None
        if state == 1:
            e = self.clear(m, i, leaf, r.rest())
        elif state == 3:
            self.withheld(i, r.number(2), "records")
        elif state == 4 and leaf:
            self.expired = leaf
        elif state == 6:
            self.hidden(i)
        r.end()
        if e and leaf and leaf.verdict != HELD:
            self.selected(i, leaf, e)
        if leaf and state in (1, 2) and leaf.verdict not in (HELD, *((GAP, LATE, KEY_INVALID) if state == 2 else ())):
            self.check("event", need, state == 1, f"leaf {i}: held against the leaf's verdict")
        elif leaf and state == 1:
            self.check("event", need, leaf.verdict != HELD, f"leaf {i}: not held against the leaf's verdict")
        if state != 1:
            self.absent.add(i)
        self.openings(i, e, state == 1 and m.form == 1)
        return e

    def clear(self, m, i, leaf, b):
        if leaf and leaf_hash(b) != leaf.event:
            self.fail("event-content", f"leaf {i}")
            return None
        try:
            if m.form == 2:
                if m.s:
                    raw = decode("StreamBatch", b)
                    need(raw["statement"] == m.statement, "another batch")
                return None
            e = read_event(b)
            need((e["tenant"], e["instance"]) == (m.s["tenant"], m.s["instance"]), "of another tenant or instance")
            need(not leaf or leaf.kind == e["kind"], "of another kind")
            self.clock["ahead"] += bool(leaf and e["occurred_at"] > leaf.time + MINUTES)
            return e
        except Wrong as why:
            self.fail("event", f"leaf {i}: {why}")

    def openings(self, i, e, here):
        """The fields of one event; those of an event that is here and wrong are counted only."""
        fields = dict(enumerate(e["sealed"])) if e else {}
        while self.opening and self.opening["at"][0] <= i:
            o, self.opening = self.opening, next(self.opened, None)
            field = fields.pop(o["at"][1], None) if o["at"][0] == i else None
            self.count[{1: "fields_disclosed", 3: "fields_withheld", 5: "fields_erased"}[o["state"]]] += 1
            if not field and not (here and not e):
                self.fail("redactions", f"leaf {i}: an opening of no field")
            elif o["state"] == 1 and field:
                self.check("opening", self.check_opening, i, e, field, o)
            elif o["state"] == 3:
                self.withheld(i, o["reason"], "fields")
            elif field:
                self.erasures.append((i, e, field["subject"], o["tombstone"], o["generation"]))
        if fields:
            self.fail("redactions", f"leaf {i}: a sealed field without a record")

    def withheld(self, i, reason, what):
        if self.check("redactions", need, reason < len(self.recount), f"leaf {i}: no such reason"):
            self.recount[reason][what] += 1

    def check_opening(self, i, e, field, o):
        parts = [e["id"], field["path"].encode(), field["media_type"].encode(), o["salt"], o["value"]]
        digest = sha(b"custody/sealed/v1\0", *(x for p in parts for x in (len(p).to_bytes(4, "big"), p)))
        need(digest == field["digest"] and len(o["value"]) == field["size"], f"leaf {i}, {field['path']}")

    def accounts(self):
        self.check("genesis", self.check_genesis)
        self.check("key", need, self.exporter not in self.log.exporters[:-1], "an export key that the log had replaced")
        if self.log.genesis and not self.policy:
            self.check("checkpoint", self.check_own_key)
        for i, e, subject, index, generation in self.erasures:
            found = self.log.tombstones.get(index, ("", 0, set()))
            free = not found[2] & {"instance/" + e["instance"], "run/" + e["run"]}
            good = subject and found[0] == subject and generation <= found[1] and i < index and free
            self.check("erasure", need, good, f"leaf {i}: no such tombstone at leaf {index}")
        if gone := self.expired:
            covered = any(index > gone.index and before > gone.time for index, before in self.log.expiries)
            self.check("erasure", need, covered, f"leaf {gone.index}: no record says that it is no longer kept")
        r = account(self.recount, [index for _, _, _, index, _ in self.erasures], self.count)
        self.check_states()
        same = self.claims == counted(self.count) and json.loads(bytes(self.files["redactions.json"])) == r
        self.check("redactions", need, same, "other counts")
        self.listed = [e.report(k, e.instance) for k, e in sorted(self.emitters.items()) if e.begins]
        same = bytes(self.files["emitters.json"]) == to_json({"version": 1, "emitters": self.listed}).encode()
        self.check("emitters", need, same, "the batches say otherwise")
        self.check_derived()

    def anchored(self, g):
        """Whether a genesis is the one that the policy names."""
        return g["origin"] == self.scope["origin"] and (not self.policy or g["system_key"].hex() == self.policy["system_key"])

    def check_genesis(self):
        g, p = self.log.genesis, self.policy
        need(g, "no genesis of this origin with the policy's system key")
        need(not p or g["log_key"] == verifier_key(p["log_key"], 1)[2], "another log key than the policy's")

    def verdict(self):
        results = self.results
        out = {"version": 1, "exit": 0, "integrity": self.integrity(), "authenticity": self.authenticity(), "completeness": "",
               "anchoring": ""} | self.outside_verdict()
        if self.policy:
            digest = sha(to_json(self.policy).encode()).hex()
            out["policy"] = " ".join(digest[i:i + 4] for i in range(0, 64, 4))
        end = bool(self.scope) and self.e == self.n
        part = self.selection() if self.scope and self.instance else None
        out["completeness"] = self.completeness(out["authenticity"], end, part)
        codes = [code for name, code, *_ in self.known if results[name] == "failed"]
        answers = {"gaps": 4, "open-tail": 3, "complete": 0}
        out["exit"] = codes[0] if codes else 5 if out["authenticity"] != "authentic" else answers[out["completeness"]]
        return out | self.beside(part) | {
            "manifest_sha256": self.manifest.hex(), "scope": self.scope, "root": self.root.hex(), "records": counted(self.count),
            "redactions": self.recount, "verdicts": dict(sorted(self.verdicts.items())), "vantage": self.vantage,
            "clock": self.clock, "end_of_log": end, "emitters": self.listed, "silent_keys": self.silent() if self.log else 0,
            "suspects": self.suspects() if self.log else [], "populations": {p.file: p.rows for p in self.lists},
            "controls": self.summed, "custody": self.handlings, "checks":
            [{"name": name, "result": results[name]} | ({"detail": self.details[name]} if name in self.details else {}) for name in results]}

    def integrity(self):
        results = {self.results[name] for name, _, broken, _ in CHECKS if broken}
        return "broken" if "failed" in results else "unknown" if "not-run" in results else "intact"

    def authenticity(self):
        results = {self.results[name] for name, *_ in CHECKS}
        return "failed" if "failed" in results else "authentic" if results == {"passed"} else "not-claimed"

    def silent(self):
        """Keys that could have signed in the range and did not."""
        return sum(max(k["from"], self.b) < min(k["to"], max(self.e, self.b + 1)) and i not in self.spans and k["producer"] != 4
                   for i, k in self.log.keys.items())

    def suspects(self):
        out = []
        for i, k in sorted(self.log.keys.items()):
            spans = [(max(a, k["suspect"]), b - 1) for a, b in self.spans.get(i, ()) if b > k["suspect"]] if k["suspect"] is not None else []
            if spans:
                out.append({"key_id": i.hex(), "instance": k["instance"], "from": spans[0][0], "to": spans[-1][1]})
        return out


def to_text(v):
    answers = [f"{k:14}{v[k]}" for k in ("integrity", "authenticity", "completeness", "anchoring", "policy") if k in v]
    checks = [f"  {c['result']:12}{c['name']:16}" + (json.dumps(c["detail"]) if "detail" in c else "") for c in v["checks"]]
    return "\n".join(answers + ["checks"] + [c.rstrip() for c in checks] + [f"exit code {v['exit']}"])


def open_bundle(name):
    with open(name, "rb") as f:
        f.seek(0, 2)
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) if f.tell() else b""


def main():
    parser = argparse.ArgumentParser(description="Checks an evidence bundle offline.")
    parser.add_argument("bundle")
    parser.add_argument("--policy")
    parser.add_argument("--crl", action="append", default=[])
    parser.add_argument("--receipts", action="append", default=[])
    parser.add_argument("-o", choices=["text", "json"], default="text", dest="output")
    args = parser.parse_args()
    try:
        policy = read_policy(open(args.policy, "rb").read(1 << 20)) if args.policy else None
        crls = [read_list(open(name, "rb").read((1 << 20) + 1)) for name in args.crl]
        receipts = [r for name in args.receipts for r in read_receipts(open(name, "rb").read())]
        verdict = Verification(open_bundle(args.bundle), policy, crls, receipts).run()
    except (OSError, Wrong) as e:
        print(f"verify.py: {e}", file=sys.stderr)
        return 1
    print(to_text(verdict) if args.output == "text" else to_json(verdict), end="\n" if args.output == "text" else "")
    return verdict["exit"]


if __name__ == "__main__":
    sys.exit(main())
