"""Receipts that somebody holds against the log (docs/FORMAT.md, sections 3 and 8)."""

import re

from events import read_statement
from outside import instant_text
from parts import BASE64, Wrong, good_origin, need, read_json, read_signatures, sha, signed, strict_base64

RECEIPT_CHECKS = [("omission", 27, False, True), ("receipts", 28, False, True)]
KEPT = {"note": str, "statement": BASE64}
LINES = re.compile(r"custody/receipt/v1\norigin ([^\n]+)\nbatch ([0-9a-f]{64})\nsequence ([1-9][0-9]{0,19})\ntime ([1-9][0-9]{0,18})\n"
                   r"deadline ([1-9][0-9]{0,18})\n", re.ASCII)


def read_receipts(b):
    """The lines of a file of receipts: (note, statement) each."""
    need(not b or b.endswith(b"\n"), "no whole line")
    lines = [read_json(line, KEPT, line=True) for line in b.split(b"\n")[:-1]]
    need(all(line["note"] and line["statement"] for line in lines), "an empty receipt")
    return [(line["note"], strict_base64(line["statement"])) for line in lines]


class Promised:
    """The part of a verification that holds the log to receipts."""

    def check_receipts(self):
        if not self.held:
            return
        found, counts = {}, dict.fromkeys(["present", "undecided", "missing", "unsigned"], 0)
        for index, leaf in sorted(self.leaves.items()):
            found.setdefault(leaf.batch, index)
        listed = [{"number": i + 1} | self.receipt(*held, found) for i, held in enumerate(self.held)]
        for r in listed:
            counts[r["result"]] += 1
        if counts["missing"]:
            self.fail("omission", f"{counts['missing']} missing")
        if counts["unsigned"]:
            self.fail("receipts", f"{counts['unsigned']} of something else")
        self.receipts = counts | {"list": listed}
        self.done("omission", "receipts")

    def receipt(self, note, statement, found):
        try:
            (batch, taken, deadline), s = self.open_receipt(note), read_statement(statement)
            need(s["digest"] == batch and s["tenant"] == self.scope["tenant"], "for something else")
        except Wrong as e:
            return {"result": "unsigned", "why": str(e)}
        result, why = self.kept(s, deadline, found)
        return ({"result": result} | ({"why": why} if why else {}) | ({"record": found[batch]} if batch in found else {}) |
                {"batch": batch.hex(), "instance": s["instance"], "key_id": s["key_id"].hex(), "epoch": s["epoch_no"], "first": s["first_seq"],
                 "count": s["count"], "taken": instant_text(taken), "deadline": instant_text(deadline)})

    def open_receipt(self, note):
        """Batch digest, time and deadline of a note with exactly one signature, by the system key under the log's name."""
        key = bytes.fromhex(self.policy["system_key"]) if self.policy else self.log.genesis["system_key"] if self.log.genesis else b""
        b = note.encode(errors="replace")
        text, name = b[:b.find(b"\n\n") + 1], self.scope["origin"]
        raw = read_signatures(b).get((name, sha(name.encode(), b"\n\x01", key)[:4]), b"") if text else b""
        need(b[len(text):].count(b"\n") == 2 and signed(key, text, raw), "not signed by the system key")
        m = LINES.fullmatch(text.decode())
        need(m and m[1] == name and good_origin(name), "not the lines of a receipt")
        sequence, taken, deadline = map(int, m.groups()[2:])
        need(sequence < 1 << 64 and taken <= deadline < 1 << 63, "numbers of a receipt")
        return bytes.fromhex(m[2]), taken, deadline

    def kept(self, s, deadline, found):
        """What a good receipt says of the log, and why no more."""
        if s["digest"] in found:
            return "present", ""
        if any(self.results[name] == "failed" for name in ("chain", "range", "checkpoint")):
            return "undecided", "not-proven"
        times = [self.leaves[self.high - 1].time] if self.high > self.low else [0]
        times += [seconds * 10**9 for _, seconds in self.cosigned] if self.high == self.n else []
        if deadline >= max(times):
            return "undecided", "after-range"
        seen = s.get("last_seen")
        known = seen and self.low <= seen["index"] < self.high and self.leaves[seen["index"]].hash == seen["leaf_hash"]
        return ("missing", "") if self.low == 0 or known else ("undecided", "before-range")
