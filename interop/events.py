"""Events, statements and what follows from their order: the fold and the numbering (docs/FORMAT.md, sections 1, 2, 3, 6 and 8)."""

import bisect
import re

from parts import Wrong, good_name, need, sha, signed

ACCEPTED, GAP, LATE, KEY_INVALID, HELD, EQUIVOCATION, MALFORMED = range(1, 8)
VERDICTS = ["", "accepted", "gap", "late", "key-invalid", "held", "equivocation", "malformed"]


# -- protobuf messages (sections 1 and 2) --

# One line a message: its fields in the order of their numbers ("16:" sets the number). A small letter may be left out, a capital may
# not. t: text of at most so many bytes, n: name, b: so many bytes (b1-32: 1 to 32), d: event id, u: number up to 2^62, w: any
# 32-bit number, i: nanoseconds ≥ 0, e: enum up to this value, =: this number, f: flag, {}: message, []: list of at most so many,
# |: one of these texts.
SCHEMA = """
BatchStatement version=1 tenant:N instance:N key_id:B32 epoch_no:U epoch:B16 previous_epoch:{EpochEnd} first_seq:U count:U1024 prev_batch:b32
  event_root:B32 created_at:I last_seen:{LastSeen}
EpochEnd last_seq:U last_digest:B32
LastSeen index:u leaf_hash:B32
Event version=1 id:D tenant:N instance:N run:t256 run_seq:u principal:t256 on_behalf_of:[T256]16 occurred_at:I time_basis:E2 trust:e3
  causes:[{Cause}]64 sealed:[{Sealed}]64 fingerprints:[{Fingerprint}]256 20:identity:{Identity} data:{Data} execution:{Execution}
  approval:{Approval} system:{System}
Cause id:D relation:E7 basis:E2
Sealed path:T256 media_type:T256 size:u subject:t256 digest:B32
Fingerprint path:T256 key_id:W normaliser=1 value:B8
Identity action:E10 epoch:b16 last_seq:u interval:i workflow:t256 model:t256 agent_version:t256 system_prompt_digest:b32
  tool_list_digest:b32 runtime:{RuntimeBoundary} last_run_seq:u outcome:e5 credential:{Credential} delegate:t256 role:t256 session:t256
RuntimeBoundary host:t256 container:t256 image:t256
Credential fingerprint:B1-32 scopes:[T256]64 expires_at:i connector:t256
Data action:E8 source:t4096 resource:t4096 domain:t256 data_class:t256 content_digest:b32 bytes:u direction:e2 memory_key:t256
  detector:t256 detector_version:t256 score:u1000 label:t256
Execution action:E7 call:t256 tool:t4096 operation:t4096 connector:t256 consequence:e3 arguments_digest:b32 destination:t4096 attempt:w
  decision:e3 policy:t256 reason:t4096 outcome:e5 cost_microunits:u cost_unit:t63 duration:i
Approval action:E5 approver:t256 shown_digest:b32 subject_event:d shown_at:i valid_until:i call:t256 tool:t4096 reason:t4096
  escalated_to:t256
System actor:t256 reason:t4096 10:genesis:{Genesis} instance:{InstanceChange} manifest:{ManifestChange} key:{KeyChange}
  grant:{GrantChange} rule:{RuleChange} containment:{Containment} hold:{Hold} erasure:{Erasure} access:{Access} refusal:{Refusal}
  finding:{Finding} review:{Review} 40:firing:{FiringChange} 45:approval:{ApprovalStep} 50:lease:{LeaseExtension} armed:{Armed}
  drill:{Drill} 55:case:{Case} 60:expiry:{Expiry} fingerprint:{FingerprintKey}
  export_key:{ExportKeyChange}
Genesis origin:T256 system_key:B32 log_key:B32 display_name:t256 system_salt:B32
Labels client:t256 owner:t256 on_call:t256 environment:t256 regulation:[T256]16 canary:f
InstanceChange instance:N salt:b32 labels:{Labels}
Permission verb:E5 tool:t4096 resource:t4096 consequence:e3 connector:t256
ManifestChange instance:N version:W permissions:[{Permission}]1024 source_digest:b32
KeyChange action:E3 key_id:B32 public_key:b32 instance:n producer:e3 replaces:b32 suspect_from:u proof:b64
GrantChange principal:T256 role:E6 certificate:b32 revoked:f all_tenants:f
RuleChange rule:T256 version:W source_digest:B32 mode|shadow|live|off
Containment state:E9 target:T4096 level||restrict|pause|quarantine plan:t256 step:w evidence:t4096 path:t256
  observer||agent|gateway|probe|custody break_glass:f second:t256 lasts:i
Hold hold:T256 scope:T4096 lifted:f
Erasure subject:T256 generation:W
Access method:T256 query_digest:b32 opened:f certificate:b32
Refusal emitter:b32 reason:T256 count:U first_at:i detail:t4096
Finding verdict:T256 emitter:b32 index:u
Review topic|memory|retrieval|access|scope|sharing subject:t4096 outcome|approved|rejected|changes next_at:i
FiringChange firing:B16 rule:T256 version:W state|acknowledged|false_positive|needs_person
ApprovalStep state:E6 request:D subject_event:D instance:N run:t256 principal:t256 call:T256 tool:t4096 consequence:e3 shown_digest:B32
  arguments_digest:B32 valid_until:I shown_at:i took:i escalated_to:t256 step_up:f certificate:b32
Expiry before:I
FingerprintKey number:W
ExportKeyChange public_key:B32-91 replaces:B32
LeaseExtension lasts:u300000000000
Armed checks:[{PathCheck}]128
PathCheck instance:N path:T256 proven:f observer|agent|gateway|probe|custody evidence:t4096
Drill instance:N containment:T256 level|restrict|pause|quarantine steps:[{DrillStep}]128 proven:f
DrillStep path:T256 requested_at:i delivered_at:i acknowledged_at:i verified_at:i evidence:t4096
Case case:T256 action:E7 target:t4096 class:t256 events:[D]64 firings:[B16]64 containments:[T256]64 trigger_at:i not_needed:f
StreamBatch version=1 statement:B1-1024 signature:B64 events:[x65536]1024 openings:[x]4096 held:[x]1024
"""
CALL = "call tool? operation? connector? consequence? arguments_digest? destination? attempt? "
CONTENT = "source? resource? domain? data_class? content_digest? bytes? direction? "
MEMORY = CONTENT.replace("resource? domain?", "memory_key?")
CONSENT = "subject_event? call? tool? shown_digest? shown_at? valid_until? reason? approver? "
ACTIONS = {  # by action, from 1: the fields that it needs and those that it allows
    "Identity": ["epoch", "epoch last_seq?", "epoch interval last_seq?",
                 "workflow? model? agent_version? system_prompt_digest? tool_list_digest? runtime? session?", "last_run_seq outcome?",
                 "credential", "credential", "credential", "delegate role?", "role"],
    "Data": [CONTENT, CONTENT, MEMORY, MEMORY, CONTENT, CONTENT, CONTENT, CONTENT + "detector detector_version? score? label?"],
    "Execution": [CALL, CALL + "decision policy? reason?", CALL, CALL + "outcome? cost_microunits? cost_unit? duration?",
                  CALL + "outcome? cost_microunits? cost_unit? duration? reason?", CALL, CALL + "reason? outcome?"],
    "Approval": [CONSENT, CONSENT + "approver", CONSENT + "approver", CONSENT + "escalated_to", CONSENT],
    "KeyChange": ["key_id public_key instance producer proof replaces?", "key_id suspect_from?", "key_id suspect_from?"],
    "Case": ["case target events? firings? containments? trigger_at?", "case events? firings? containments?", "case class events",
             "case class events", "case class events? not_needed?", "case events", "case"],
}
CLASSES = {3: "user retrieval memory connector", 4: "permissions policy prompt monitoring", 5: "scopes secrets rollback quarantine review"}
KINDS = ["identity", "data", "execution", "approval", "system"]  # and their kind in a leaf, from 1


def compile_schema():
    out = {}
    for line in SCHEMA.replace("\n  ", " ").strip().split("\n"):
        message, *fields = line.split()
        number, table = 0, {}
        for f in fields:
            m = re.fullmatch(r"(?:(\d+):)?(\w+)([:=|])(.*)", f)
            number = int(m[1] or number + 1)
            table[number] = (m[2], m[4] if m[3] == ":" else m[3] + m[4])
        out[message] = table
    return out


MESSAGES = compile_schema()


def varint(b, at):
    value = shift = 0
    while True:
        need(at < len(b) and shift < 70, "cut number")
        byte = b[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            need(value < 1 << 64 and (byte or shift == 7), "number not in its shortest form")
            return value, at


def decode(message, b):
    """The fields of a message by name, in its one encoding and within its rules."""
    table, at, last, out = MESSAGES[message], 0, 0, {}
    while at < len(b):
        tag, at = varint(b, at)
        number, wire = tag >> 3, tag & 7
        need(number in table, f"{message}: unknown field {number}")
        name, rule = table[number]
        listed = rule[0] == "["
        need(number > last or listed and number == last, f"{message}: fields not in ascending order")
        if wire == 2:
            size, at = varint(b, at)
            need(at + size <= len(b), "cut")
            value, at = bytes(b[at:at + size]), at + size
        else:
            need(wire == 0, "unknown wire type")
            value, at = varint(b, at)
        if listed:
            out.setdefault(name, []).append(read_field(f"{message}.{name}", value, rule[1:].split("]")[0]))
        else:
            out[name] = read_field(f"{message}.{name}", value, rule)
        last = number
    for name, rule in table.values():
        if rule[0] == "[":
            need(len(out.setdefault(name, [])) <= int(rule.split("]")[1]), f"{message}.{name}: too many")
        else:
            need(name in out or rule[0] not in "NBUDITEW=|" or rule[:2] == "||", f"{message}.{name} is missing")
            if rule[0] != "{":
                out.setdefault(name, "" if rule[0] in "tn|" else b"" if rule[0] in "bd" else 0)
    return out


def read_field(name, value, rule):
    kind, most = rule[0].lower(), rule[1:]
    if kind == "{":
        need(isinstance(value, bytes), f"{name}: not a message")
        return decode(rule[1:-1], value)
    if kind == "x":  # bytes that stand in a list, empty ones too
        need(isinstance(value, bytes) and (not most or len(value) <= int(most)), f"{name}: wrong size")
        return value
    need(value, f"{name}: a default is written out")
    if kind in "tn|":
        try:
            value = bytes(value).decode() if isinstance(value, bytes) else None
        except UnicodeDecodeError as e:
            raise Wrong(f"{name}: not UTF-8") from e
        need(value is not None, f"{name}: not a text")
        need(kind != "t" or len(value.encode()) <= int(most), f"{name}: too long")
        need(kind != "n" or good_name(value), f"{name}: not a name")
        need(kind != "|" or value in most.split("|"), f"{name}: unknown word")
    elif kind in "bd":
        low, _, high = (most if kind == "b" else "16").partition("-")
        need(isinstance(value, bytes) and int(low) <= len(value) <= int(high or low), f"{name}: wrong size")
        need(kind == "b" or value[6] >> 4 == 7 and value[8] >> 6 == 2, f"{name}: not a UUIDv7")
    else:
        limits = {"u": 1 << 62, "w": (1 << 32) - 1, "i": (1 << 63) - 1, "f": 1}
        high = limits[kind] if kind in limits and not most else int(most)
        need(isinstance(value, int) and value <= high and (kind != "=" or value == high), f"{name}: out of range")
    return value


def by_action(message, x):
    """Which fields an action needs and which it allows."""
    names = ACTIONS[message][x["action"] - 1].split()
    for name, rule in MESSAGES[message].values():
        given = bool(x.get(name)) or name in x and rule[0] == "{"
        need(name == "action" or name not in names or given, f"{name} is missing")
        need(name == "action" or not given or name in names or name + "?" in names, f"{name} is not allowed for this action")


def read_event(b):
    """A valid event (section 2), with its kind and its body beside the fields."""
    need(1 <= len(b) <= 64 << 10, "size of an event")
    e = decode("Event", b)
    bodies = [k for k in KINDS if k in e]
    need(len(bodies) == 1, "not one body")
    e["kind"], e["body"] = KINDS.index(bodies[0]) + 1, e[bodies[0]]
    need(bool(e["run"]) == bool(e["run_seq"]), "run and run_seq go together")
    need(all(c["id"] != e["id"] for c in e["causes"]), "its own cause")
    need(len({(c["id"], c["relation"]) for c in e["causes"]}) == len(e["causes"]), "a cause named twice")
    paths = [s["path"] for s in e["sealed"]]
    need(len(set(paths)) == len(paths), "a path sealed twice")
    need(all(f["path"] in paths for f in e["fingerprints"]), "fingerprint of no sealed field")
    order = [(paths.index(f["path"]), f["key_id"], f["normaliser"], f["value"]) for f in e["fingerprints"]]
    need(all(a < b for a, b in zip(order, order[1:])), "fingerprints out of order")
    read_body(e, bodies[0], e["body"])
    return e


def read_body(e, kind, x):
    if kind == "system":
        details = [k for k in x if k not in ("actor", "reason")]
        need(len(details) == 1 and e["instance"] == "custody", "system event")
        e["detail"] = details[0]
        return read_detail(details[0], x[details[0]])
    by_action(kind.capitalize(), x)
    if kind == "identity":
        need(x["action"] != 4 or e["run"], "run started outside a run")
        need(x["action"] != 5 or x["last_run_seq"] == e["run_seq"], "last_run_seq")
    elif kind == "execution":
        need(not x["cost_microunits"] or x["cost_unit"], "cost without a unit")
    elif kind == "approval":
        need(x["subject_event"] or x["call"], "approval of nothing")


def read_detail(detail, x):
    need(detail != "containment" or x["state"] != 4 or x["observer"] != "agent", "verified by its own word")
    need(detail not in ("instance", "manifest", "key") or x["instance"] != "custody", "reserved instance")
    if detail == "key":
        by_action("KeyChange", x)
        need(x["action"] != 1 or x["key_id"] == sha(x["public_key"]) != x["replaces"], "key id")
    elif detail == "export_key":
        need(len(x["public_key"]) in (32, 91) and sha(x["public_key"]) != x["replaces"], "export key")
    elif detail == "review" and x["topic"] == "sharing":
        what, _, which = x["subject"].partition("/")
        need(what in ("credential", "connector", "memory", "artefact") and which, "subject of a review of sharing")
    elif detail == "case":
        by_action("Case", x)
        need(x["action"] not in CLASSES or x["class"] in CLASSES[x["action"]].split(), "class of a case")
        need(x["action"] != 5 or bool(x["events"]) != bool(x["not_needed"]), "settled by nothing, or by both")
    elif detail == "hold":
        what, slash, which = x["scope"].partition("/")
        need(x["scope"] == "tenant" or what in ("instance", "run", "subject") and slash and which, "scope of a hold")


def read_statement(b):
    need(1 <= len(b) <= 1024, "size of a statement")
    s = decode("BatchStatement", b)
    need("previous_epoch" not in s or s["epoch_no"] > 1, "the first epoch has a previous one")
    need(bool(s["prev_batch"]) == (s["first_seq"] > 1), "prev_batch")
    s["digest"] = sha(b"custody/batch/v1\0", b)
    s["last"] = s["first_seq"] + s["count"] - 1
    return s


# -- the fold of section 6 --


class Log:
    """Instances, keys and tombstones after a prefix of the log."""

    def __init__(self, tenant, anchored):
        """anchored says whether a genesis is the one that the policy names."""
        self.tenant, self.anchored, self.genesis, self.salts, self.keys = tenant, anchored, None, {}, {}
        self.holds, self.erased, self.tombstones, self.expiries = {}, {}, {}, []
        self.exporters = []  # ids of the export keys, the log key's first; the last is in force

    def own(self, key_id):
        """Custody's own batches, whose system events count, are by the system key."""
        return bool(self.genesis) and key_id == sha(self.genesis["system_key"])

    def hold(self, name, scope, lifted):
        if lifted and self.holds.get(name) == scope:
            del self.holds[name]
        elif not lifted:
            self.holds.setdefault(name, scope)

    def erase(self, index, subject, generation):
        held = any(scope in ("tenant", "subject/" + subject) for scope in self.holds.values())
        if not held and generation > self.erased.get(subject, 0):
            self.tombstones[index], self.erased[subject] = (subject, generation, set(self.holds.values())), generation

    def apply(self, index, e):
        """An event that does not apply changes nothing."""
        detail, x = e["detail"], e["body"][e["detail"]]
        if e["tenant"] != self.tenant:
            return
        if detail == "genesis":
            if index == 0 and self.anchored(x):
                self.genesis, self.salts["custody"] = x, x["system_salt"]
                self.exporters = [sha(x["log_key"])]
                self.keys[sha(x["system_key"])] = {"public": x["system_key"], "instance": "custody", "producer": 4, "from": 0,
                                                   "to": 1 << 64, "suspect": None, "revoked": False}
        elif self.genesis and detail == "instance" and x["salt"]:
            self.salts.setdefault(x["instance"], x["salt"])
        elif self.genesis and detail == "hold":
            self.hold(x["hold"], x["scope"], x["lifted"])
        elif self.genesis and detail == "erasure":
            self.erase(index, x["subject"], x["generation"])
        elif self.genesis and detail == "expiry" and not self.holds:
            self.expiries.append((index, x["before"]))
        elif self.genesis and detail == "export_key":
            if x["replaces"] == self.exporters[-1] and sha(x["public_key"]) not in self.exporters:
                self.exporters.append(sha(x["public_key"]))
        elif self.genesis and detail == "key" and x["action"] == 1:
            self.enrol(index, x)
        elif self.genesis and detail == "key":
            self.change(index, x, self.keys.get(x["key_id"]))

    def enrol(self, index, x):
        message = b"custody/enrol/v1\0%s\0%s\0" % (self.tenant.encode(), x["instance"].encode()) + bytes([x["producer"]])
        old = self.keys.get(x["replaces"])
        if x["key_id"] in self.keys or x["instance"] not in self.salts or not signed(x["public_key"], message + x["public_key"], x["proof"]):
            return
        if x["replaces"]:
            same = old and (old["instance"], old["producer"]) == (x["instance"], x["producer"])
            if not same or not old["from"] <= index + 1 < old["to"]:
                return
            old["to"] = index + 1
        self.keys[x["key_id"]] = {"public": x["public_key"], "instance": x["instance"], "producer": x["producer"], "from": index + 1,
                                  "to": 1 << 64, "suspect": None, "revoked": False}

    def change(self, index, x, key):
        if not key or key["producer"] == 4 or x["suspect_from"] > index or x["action"] == 2 and key["revoked"]:
            return
        if x["action"] == 3 or x["suspect_from"]:
            key["suspect"] = min(x["suspect_from"], key["suspect"] if key["suspect"] is not None else 1 << 64)
        if x["action"] == 2:
            key["revoked"], key["to"] = True, min(key["to"], index + 1)


# -- numbering (section 8) --


class Spans:
    """Disjoint spans of numbers, in order."""

    def __init__(self, spans=()):
        self.list = list(spans)

    def overlaps(self, first, last):
        i = bisect.bisect_right(self.list, (last, 1 << 64))
        return i > 0 and self.list[i - 1][1] >= first

    def add(self, first, last):
        if first <= last:
            bisect.insort(self.list, (first, last))

    def remove(self, first, last):
        parts = [p for a, b in self.list for p in ([(a, b)] if b < first or a > last else [(a, first - 1), (last + 1, b)])]
        self.list = [p for p in parts if p[0] <= p[1]]


class Emitter:
    """One key's numbers, as far as the bundle shows them."""

    def __init__(self, head=None):
        self.head, self.begins, self.skipped, self.late, self.doubled, self.epochs, self.used = head, "", False, 0, 0, {}, {}
        self.known_from = head["first_seq"] if head else None
        if head:
            self.mark(head)

    def mark(self, s):
        self.used.setdefault(s["epoch_no"], Spans()).add(s["first_seq"], s["last"])

    def is_used(self, s):
        return self.used.get(s["epoch_no"], Spans()).overlaps(s["first_seq"], s["last"])

    def place(self, s):
        h = self.head
        if s["epoch_no"] > h["epoch_no"]:
            names = s.get("previous_epoch") == {"last_seq": h["last"], "last_digest": h["digest"]}
            return "follows" if s["epoch_no"] == h["epoch_no"] + 1 and s["first_seq"] == 1 and names else "gap"
        if s["epoch_no"] < h["epoch_no"]:
            return "before"
        if s["epoch"] != h["epoch"]:
            return "conflict"
        if s["first_seq"] != h["last"] + 1:
            return "gap" if s["first_seq"] > h["last"] else "before"
        return "follows" if s["prev_batch"] == h["digest"] else "conflict"

    def whole(self, s):
        """A second story: its numbers must have been used."""
        self.begins = self.begins or ("proven" if self.head else "claimed")
        self.doubled += 1
        place = self.head and self.place(s)
        shown = place == "before" and s["epoch_no"] == self.head["epoch_no"] and s["first_seq"] >= self.known_from
        need(place not in ("follows", "gap") and (not shown or self.is_used(s)), "a second story whose numbers are new")

    def batch(self, s, verdict, shown):
        """A batch of events; verdict is that of its first leaf, or key-invalid."""
        place = self.place(s) if self.head else None
        first = (s["epoch_no"], s["first_seq"]) == (1, 1)
        if not self.begins:
            begins = s["epoch_no"] == 1 and (verdict == GAP or first and verdict != LATE)
            self.begins = "proven" if self.head else "first" if begins else "claimed"
        used = self.is_used(s)
        if verdict == LATE or verdict == KEY_INVALID and place == "before":
            self.fill(s, shown)
        else:
            self.move(s, place, verdict)
        self.mark(s)
        need(not used, "numbers used twice")
        wanted = {"follows": ACCEPTED, "gap": GAP, "before": LATE, None: ACCEPTED if first and verdict != LATE else verdict}.get(place)
        need(wanted and verdict in (wanted, KEY_INVALID), f"the numbers demand another verdict than {VERDICTS[verdict]}")

    def fill(self, s, shown):
        self.late += shown
        if s["epoch_no"] in self.epochs:
            self.epochs[s["epoch_no"]]["missing"].remove(s["first_seq"], s["last"])

    def move(self, s, place, verdict):
        number, h = s["epoch_no"], self.head
        if place == "follows" and number > h["epoch_no"]:
            self.end("closed-by-successor", h["epoch_no"])
        new = {"id": s["epoch"].hex(), "first": s["first_seq"], "last": 0, "missing": Spans(), "ends": "open"}
        epoch = self.epochs.setdefault(number, new)
        epoch["last"], epoch["ends"] = s["last"], "open"
        if place == "gap" and number == h["epoch_no"]:
            epoch["missing"].add(h["last"] + 1, s["first_seq"] - 1)
        elif place == "gap" or place is None and verdict == GAP:
            epoch["missing"].add(1, s["first_seq"] - 1)
            self.jump(s, h)
        if not h or number != h["epoch_no"]:
            self.known_from = 1 if h or self.begins == "first" else s["first_seq"]
        self.head = s

    def jump(self, s, h):
        """Into a later epoch, leaving a gap: of the one before, the missing end may be named, or nothing is known."""
        previous = s.get("previous_epoch", {}) if h and s["epoch_no"] == h["epoch_no"] + 1 else {}
        if h and previous == {"last_seq": h["last"], "last_digest": h["digest"]}:
            self.end("closed-by-successor", h["epoch_no"])
        elif h and previous.get("last_seq", 0) > h["last"] and h["epoch_no"] in self.epochs:
            self.epochs[h["epoch_no"]]["missing"].add(h["last"] + 1, previous["last_seq"])
        else:
            self.skipped = self.skipped or s["epoch_no"] > 1

    def end(self, how, number):
        if number in self.epochs and self.epochs[number]["ends"] != "closed":
            self.epochs[number]["ends"] = how

    def report(self, key, instance):
        out = {"key_id": key.hex(), "instance": instance, "begins": self.begins}
        out |= {k: v for k, v in (("epochs_missing", self.skipped), ("late", self.late), ("equivocations", self.doubled)) if v}
        out["epochs"] = []
        for number, e in sorted(self.epochs.items()):
            entry = {"epoch_no": number, "epoch": e["id"], "first": e["first"], "last": e["last"]}
            if e["missing"].list:
                entry["missing"] = [list(s) for s in e["missing"].list]
            out["epochs"].append(entry | {"ends": e["ends"]})
        return out
