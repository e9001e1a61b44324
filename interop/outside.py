"""What others than the operator confirm: witnesses, time stamps, earlier states of the log (docs/FORMAT.md, sections 7 and 8)."""

import base64
import re
import time

from cryptography import x509

from parts import STATEMENT, Wrong, consistent, good_key, need, read_checkpoint, read_json, read_signatures, sha, signed, verifier_key
from records import Reader, records
from stamps import Stamp

MOST_ANCHORS, MOST_RECORD = 1440, 4 + (1 << 20) + 4 + (64 << 10) + 63 * 32


class Quorum:
    """The lines of a C2SP tlog-policy, in the one encoding of a policy file."""

    def __init__(self, lines):
        self.witnesses, self.defined, self.members, self.decided = [], {}, set(), None  # name of each: key, or (need, members)
        need(len(lines) <= 257 and not any(re.search(r"[\x00-\x1f\x7f]", x) for x in lines), "lines of the witnesses")
        for i, line in enumerate(lines):
            word, *rest = line.split(" ")
            need(all(rest) and self.decided is None, "line of the witnesses")
            if word == "witness":
                need(len(rest) == 2, "witness")
                self.witness(*rest)
            elif word == "group":
                self.group(*rest[:2], rest[2:])
            else:
                need(word == "quorum" and len(rest) == 1 and i == len(lines) - 1, "quorum")
                need(rest[0] == "none" or rest[0] in self.defined, "quorum of nobody")
                self.decided = rest[0]
        need(self.decided is not None, "no quorum")

    def witness(self, name, vkey):
        key_name, digest, key = verifier_key(vkey, 4)
        need(key not in [w[3] for w in self.witnesses], "a key twice")
        self.witnesses.append((name, key_name, digest, key))
        self.define(name, key)

    def define(self, name, what):
        need(name != "none" and name not in self.defined, "a name twice")
        self.defined[name] = what

    def group(self, name, k, members):
        need(members and len(set(members)) == len(members), "members of a group")
        need(all(m in self.defined and m not in self.members for m in members), "member of two groups, or of none")
        need(re.fullmatch(r"[1-9][0-9]{0,4}", k) and int(k) <= len(members), "threshold")
        self.members.update(members)
        self.define(name, (int(k), members))

    def met(self, keys):
        def has(name):
            what = self.defined[name]
            return what in keys if isinstance(what, bytes) else sum(map(has, what[1])) >= what[0]
        return self.decided == "none" or has(self.decided)


def check_others(p):
    """The parts of a policy that are not about the operator."""
    if "witnesses" in p:
        need(p["witnesses"], "an empty list")
        own = [verifier_key(p["log_key"], 1)[2], bytes.fromhex(p["system_key"]), bytes.fromhex(p["export_key"])]
        own += [verifier_key(p["time_key"], 4)[2]] if "time_key" in p else []
        need(not any(w[3] in own for w in Quorum(p["witnesses"]).witnesses), "a witness with a key of the operator")
    if "timestamp_roots" in p:
        need(1 <= len(p["timestamp_roots"]) <= 32, "number of roots")
        roots(p)


def roots(p):
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(r)) for r in p.get("timestamp_roots", [])]
    except ValueError as e:
        raise Wrong("time-stamp root") from e


class Outside:
    """The part of a verification that rests on others."""

    def init_outside(self):
        p, self.cosigned, self.stamps, self.exported, self.quorum = self.policy, [], [], [], None
        if p:
            check_others(p)
            self.quorum = Quorum(p["witnesses"]) if "witnesses" in p else None

    def open_note(self, b):
        """The cosignatures of a checkpoint by keys of the policy, as (key, seconds); its own signature must hold."""
        p, (text, head, root) = self.policy, read_checkpoint(b)
        need(head[0] == self.scope["origin"], "of another log")
        if not p:
            return head, root, []
        signatures = read_signatures(b)
        name, digest, key = verifier_key(p["log_key"], 1)
        need(name == head[0] and signed(key, text, signatures.get((name, digest), b"")), "not signed by the log key")
        known = [w[1:] for w in self.quorum.witnesses] if self.quorum else []
        known += [verifier_key(p["time_key"], 4)] if "time_key" in p else []
        cosigned = []
        for name, digest, key in known:
            if raw := signatures.get((name, digest)):
                seconds = int.from_bytes(raw[:8], "big")
                message = b"cosignature/v1\ntime %d\n" % seconds + text
                need(len(raw) == 72 and seconds < 1 << 63 and signed(key, message, raw[8:]), "cosignature")
                cosigned.append((key, seconds))
        return head, root, cosigned

    def check_checkpoint(self):
        need(self.head == (self.scope["origin"], self.n), "of another log or size")
        self.cosigned = self.open_note(bytes(self.files["log/checkpoint"]))[2]

    def check_own_key(self):
        """Without a policy the key that the genesis names must at least have signed the checkpoint."""
        text, (name, _), _ = read_checkpoint(bytes(self.files["log/checkpoint"]))
        key = self.log.genesis["log_key"]
        signature = read_signatures(bytes(self.files["log/checkpoint"])).get((name, sha(name.encode(), b"\n\x01", key)[:4]), b"")
        need(good_key(key) and signed(key, text, signature), "not signed by the log's own key")

    def confirmations(self):
        """Witnesses, time stamps and earlier states. The checkpoint's text has been read."""
        keys = {key for key, _ in self.cosigned}
        if self.quorum and not self.quorum.met(keys):
            self.fail("witnesses", "too few")
        self.done("witnesses")
        self.stamp(bytes(self.files["log/checkpoint.tsr"]), bytes(self.files["log/checkpoint"]), self.stamps)
        self.stamp(*self.export_stamp(), self.exported)
        last = 0
        for i, b in enumerate(records(self.files["log/anchors.bin"], MOST_RECORD)):
            r = Reader(b)
            note, stamp = r.take(r.number(4)), r.take(r.number(4))
            need(i < MOST_ANCHORS and (len(b) - r.at) % 32 == 0 and len(b) - r.at <= 63 * 32 and len(stamp) <= 64 << 10, "earlier state")
            path = [bytes(b[at:at + 32]) for at in range(r.at, len(b), 32)]
            last = self.anchor(bytes(note), bytes(stamp), path, last)
        self.done("time-stamps", "anchors")

    def anchor(self, note, stamp, path, last):
        size = last
        try:
            (_, at), root, _ = self.open_note(note)
            need(last <= at <= self.n, "order of earlier states")
            size = at
            need(consistent(at, self.n, path, root, self.root), "not continued")
            self.stamp(stamp, note, [])
        except Wrong as e:
            self.fail("anchors", e)
        return size

    def export_stamp(self):
        """The time stamp of the statement's signature, and the signature."""
        try:
            f = read_json(self.files["statement.sigstore.json"], STATEMENT)
            stamps = f["verificationMaterial"].get("timestampVerificationData", {"rfc3161Timestamps": []})["rfc3161Timestamps"]
            if len(stamps) == len(f["dsseEnvelope"]["signatures"]) == 1:
                return base64.b64decode(stamps[0]["signedTimestamp"]), base64.b64decode(f["dsseEnvelope"]["signatures"][0]["sig"])
        except Wrong:
            pass  # of the envelope
        return b"", b""

    def stamp(self, der, note, kept):
        if not der:
            return
        try:
            s, pinned = Stamp(der, self.crls), roots(self.policy) if self.policy else []
            s.check_of(note)
            if pinned:
                s.revocation = s.check_authority(pinned)
                kept.append(s)
        except Wrong as e:
            self.fail("time-stamps", e)

    def outside_verdict(self):
        times, answer = [t for _, t in self.cosigned] + [s.at // 10**9 for s in self.stamps], "none"
        own = verifier_key(self.policy["time_key"], 4)[2] if self.policy and "time_key" in self.policy else None
        if any(key == own for key, _ in self.cosigned) or self.stamps:
            answer = "timestamped" if any(s.qualified() for s in self.stamps) else "operator-time"
        keys, out = {key for key, _ in self.cosigned}, {}
        if self.quorum and self.results["witnesses"] != "not-run":
            names = [w[0] for w in self.quorum.witnesses if w[3] in keys]
            known, met = len(self.quorum.witnesses), self.quorum.met(keys)
            answer = f"witnessed {len(names)} of {known}" if met and names else answer
            out["witnesses"] = {"confirmed": len(names), "known": known, "names": names, "quorum_met": met}
        out |= {"anchoring": answer} | ({"anchored_at": max(times)} if times and max(times) else {})
        return out | {"time_stamps": [{"of": of, "at": instant_text(s.at), "accuracy": s.accuracy,
                                       "authority": s.signer.subject.rfc4514_string(), "qualified": s.qualified(), "revocation": s.revocation}
                                      for of, stamps in (("log", self.stamps), ("export", self.exported)) for s in stamps]}


def instant_text(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"
