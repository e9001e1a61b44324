"""Parts of a tenant, late arrivals and earlier states of the log (docs/FORMAT.md, section 8: scope, parts, earlier states)."""

from parts import (CONSISTENCY, Wrong, consistent, good_name, good_origin, instant, need, read_checkpoint, read_json, read_signatures, signed,
                   verifier_key)
from records import instance_tag

LONGEST = (1 << 63) - 1


def check_scope(s):
    need(good_name(s["tenant"]) and good_origin(s["origin"]) and s["from"] <= s["to"], "scope")
    need(s["begin"] <= s["end"] <= s["size"] and 1 <= s["size"] < 1 << 63, "range of the scope")
    need(len(s["requester"].encode()) <= 4096 and len(s["purpose"].encode()) <= 4096, "text of the scope")
    need(0 < s.get("grace", 1) < 1 << 32, "grace")
    need("instance" not in s or good_name(s["instance"]) and s["instance"] != "custody", "instance")
    need("run" not in s or s["run"] and "instance" in s and len(s["run"].encode()) <= 256, "run")


def until(s):
    return min(instant(s["to"]) + s.get("grace", 0) * 10**9, LONGEST)


class Thread:
    """What one emitter in one epoch has to say of a run."""

    def __init__(self):
        self.numbers, self.last, self.started, self.ended, self.unread = set(), 0, False, False, 0

    def add(self, number, action):
        self.numbers.add(number)
        if number == 1:
            self.started = action == 4
        if number >= self.last:
            self.last, self.ended = number, action == 5

    def whole(self):
        return self.started and self.ended and self.missing(True) == 0

    def missing(self, whole):
        if not self.numbers:
            return 0
        return self.last - (0 if whole else min(self.numbers) - 1) - len(self.numbers)


class Scoped:
    """The part of a verification that is about its scope."""

    def init_scope(self):
        self.instance, self.run_id = self.scope.get("instance"), self.scope.get("run")
        self.threads, self.arrivals, self.history = {}, {"late": 0, "later": 0}, []
        self.window = instant(self.scope["from"]), instant(self.scope["to"])

    def others(self, begin, end):
        """Leaves without a message: of others than the scope's."""
        need(end <= begin or not self.opening or self.opening["at"][0] >= end, "an opening of a leaf without a message")
        tag = self.scope_tag()
        for i in range(begin, end):
            self.count["records"] += 1
            self.count["outside"] += 1
            leaf = self.leaves.get(i)
            self.check("selection", need, not (leaf and tag == leaf.tag), f"leaf {i} is of the scope, and hidden")
        return end

    def scope_tag(self):
        salt = self.log.salts.get(self.instance)
        return instance_tag(salt, self.instance) if salt else None

    def covered(self, m):
        good = not self.instance or m.s and m.s["instance"] == self.instance
        self.check("selection", need, good, f"message at {m.first} is not of the scope")

    def hidden(self, i):
        self.check("selection", need, self.run_id, f"leaf {i} is of the scope, and hidden")

    def selected(self, i, leaf, e):
        """An event that is here."""
        closes = e["kind"] == 1 and e["body"]["action"] == 2
        good = not self.run_id or e.get("run", "") == self.run_id or closes
        self.check("selection", need, good, f"leaf {i} is not of the scope")
        if leaf.time >= self.window[1]:
            self.arrivals["late" if self.window[0] <= e["occurred_at"] < self.window[1] else "later"] += 1

    def follow(self, m, content, states):
        """The numbers of the run in a message."""
        if not self.run_id or m.form != 1:
            return
        t = self.threads.setdefault((m.s["key_id"], m.s["epoch_no"]), Thread())
        t.unread += sum(s in (2, 3, 4) for s in states)
        for e in content:
            if e and e.get("run", "") == self.run_id:
                t.add(e["run_seq"], e["body"]["action"] if e["kind"] == 1 else 0)

    def numbering_of(self, key, number):
        """Whether an epoch is in the range from its first number, and how many of its numbers are missing."""
        e = self.emitters[key].epochs.get(number)
        return (e["first"] == 1, sum(b - a + 1 for a, b in e["missing"].list)) if e else (False, 0)

    def check_selection(self):
        need(not self.instance or self.log.salts.get(self.instance), "the instance was never created")
        for (key, number), t in self.threads.items():
            whole, lost = self.numbering_of(key, number)
            need(t.missing(whole) <= t.unread + lost, "numbers of the run are hidden")

    def check_states(self):
        """Earlier states of the log; a file that is not in its format is one of format."""
        for p in read_json(self.files["log/consistency/proofs.json"], CONSISTENCY)["proofs"]:
            self.check("consistency", self.check_state, p)

    def check_state(self, p):
        note = p["checkpoint"].encode()
        text, (origin, size), root = read_checkpoint(note)
        need(origin == self.scope["origin"], "of another log")
        if self.policy:
            name, digest, key = verifier_key(self.policy["log_key"], 1)
            need(signed(key, text, read_signatures(note).get((name, digest), b"")), "not signed by the log key")
        hashes, ours = [bytes.fromhex(h) for h in p["hashes"]], (self.n, self.root)
        (older, old), (newer, new) = sorted([(size, root), ours], key=lambda x: x[0])
        good = consistent(older, newer, hashes, old, new)
        self.history.append({"size": size, "root": root.hex(), "proven": good, "held": False})
        need(good, "another history")

    def selection(self):
        """What the completeness of a part rests on."""
        out = {"basis": "", "contiguous": 0, "emitters": len(self.listed), "others": 0, "outside": self.count["outside"], "missing": 0}
        if self.run_id:
            broken = {}
            for (key, number), t in self.threads.items():
                if t.numbers:
                    out["missing"] += t.missing(self.numbering_of(key, number)[0])
                    broken[key] = broken.get(key, False) or not t.whole()
            out |= {"emitters": len(broken), "others": len(self.listed) - len(broken), "contiguous": list(broken.values()).count(False)}
        else:
            out["contiguous"] = sum(not gaps(e) and not is_open(e) for e in self.listed)
        out["basis"] = "contiguous" if out["contiguous"] == out["emitters"] > 0 and not out["others"] else "claimed"
        return out

    def completeness(self, authenticity, end, part):
        if authenticity != "authentic" or self.results.get("omission") == "failed":
            return "not-claimed"
        if part and (self.run_id or not part["emitters"]):
            return "gaps" if part["missing"] else "complete" if part["basis"] == "contiguous" else "open-tail"
        if any(gaps(e) for e in self.listed):
            return "gaps"
        return "open-tail" if end or any(is_open(e) for e in self.listed) else "complete"

    def beside(self, part):
        """Fields of a verdict that only some have."""
        out = {"selection": part} if part else {}
        if self.scope and "grace" in self.scope:
            out["arrivals"] = self.arrivals
        if self.scope and self.history:
            out["history"] = self.history
        if self.receipts:
            out["receipts"] = self.receipts
        return out


def gaps(e):
    return e.get("epochs_missing") or any("missing" in x for x in e["epochs"])


def is_open(e):
    return e["begins"] == "claimed" or any(x["ends"] == "open" for x in e["epochs"])
