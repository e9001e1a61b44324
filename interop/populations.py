"""Populations: lists that follow from the facts, byte for byte (docs/FORMAT.md, section 8: populations)."""

import time

from events import VERDICTS
from facts import CONSEQUENCES, ROLES, STATES, uuid
from parts import Wrong, sha

SHOWN = [(0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x24F), (0x370, 0x3FF), (0x400, 0x481), (0x48A, 0x52F), (0x3041, 0x3096), (0x30A1, 0x30FC),
         (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)]


def text(s):
    """What somebody wrote: in quotes, harmless for terminals and spreadsheets."""
    if not s:
        return ""
    formula = s.lstrip(" ")[:1] in ("=", "+", "-", "@")
    return '"' + ("'" if formula else "") + (s.replace('"', '""') if s.isascii() and s.isprintable() else "".join(map(cell, s))) + '"'


def cell(c):
    n = ord(c)
    if any(low <= n <= high for low, high in SHOWN):
        return '""' if c == '"' else c
    return f"\\x{n:02x}" if n < 0x80 else f"\\u{n:04x}" if n < 1 << 16 else f"\\U{n:08x}"


def instant(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z" if ns else ""


def action(f):
    x = f.x
    return [*map(text, (f.e["run"], f.e["principal"], x["call"])), str(x["attempt"]),
            *map(text, (x["tool"], x["operation"], x["connector"], x["destination"])), x["arguments_digest"].hex(), f.decided, f.approval,
            str(f.answer["index"]) if f.answer else ""]


def approval(f):
    x = f.x
    return [text(f.e["run"]), text(f.e["principal"]), f.action.split(".")[1], *map(text, (x["approver"], x["call"], x["tool"])),
            uuid(x["subject_event"]), x["shown_digest"].hex(), instant(x["shown_at"]), instant(x["valid_until"]), text(x["escalated_to"]),
            text(x["reason"])]


def grant(f):
    d = f.d
    return [text(f.x["actor"]), text(d["principal"]), ROLES[d["role"]], f.change(), "yes" if d["all_tenants"] else "no",
            d["certificate"].hex(), text(f.x["reason"])]


def change(f):
    d, rest = f.d, []
    if f.detail == "key":
        rest = [text(d["instance"]), "", d["key_id"].hex()]
    elif f.detail == "export_key":
        rest = ["", "", sha(d["public_key"]).hex()]
    else:
        rest = [text(d["instance" if f.detail == "manifest" else "rule"]), str(d["version"]), d["source_digest"].hex()]
    return [text(f.x["actor"]), f.detail, f.change(), *rest, text(f.x["reason"])]


def containment(f):
    d = f.d
    return [text(f.x["actor"]), STATES[d["state"]], text(d["target"]), d["level"], text(d["plan"]), str(d["step"]), text(d["evidence"]),
            text(f.x["reason"])]


def review(f):
    d = f.d
    return [text(f.x["actor"]), d["topic"], text(d["subject"]), d["outcome"], instant(d["next_at"]), text(f.x["reason"])]


POPULATIONS = {  # its name; which facts have a row, the row, the columns after those that all have
    "sensitive-actions": (lambda f: f.action == "execution.started" and CONSEQUENCES[f.x["consequence"]] == "high", action,
                          "run,principal,call,attempt,tool,operation,connector,destination,arguments_sha256,decision,approval,approval_record"),
    "approvals": (lambda f: f.kind == "approval", approval,
                  "run,principal,action,approver,call,tool,subject_event,shown_sha256,shown_at,valid_until,escalated_to,reason"),
    "grants": (lambda f: f.detail == "grant", grant, "actor,principal,role,change,all_tenants,certificate_sha256,reason"),
    "changes": (lambda f: f.detail in ("key", "manifest", "rule", "export_key"), change, "actor,object,change,name,version,sha256,reason"),
    "containments": (lambda f: f.detail == "containment", containment, "actor,state,target,level,plan,step,evidence,reason"),
    "reviews": (lambda f: f.detail == "review", review, "actor,topic,subject,outcome,next_at,reason"),
}


class Population:
    """One file, held against the facts while they come."""

    def __init__(self, name, files):
        self.file = f"populations/{name}.csv"
        self.has, self.row, columns = POPULATIONS[name]
        self.b, self.at, self.rows, self.differs = files[self.file], 0, 0, None
        self.line(["record", "received", "judgement", "event", "producer", "instance", columns], "its header")

    def line(self, cells, what):
        line = (",".join(cells) + "\n").encode()
        if self.b[self.at:self.at + len(line)] != line:
            self.differs = self.differs or what
        self.at += len(line)

    def add(self, f):
        if self.has(f):
            self.rows += 1
            common = [str(f.index), instant(f.time), VERDICTS[f.verdict], uuid(f.e["id"]), f.producer, text(f.e["instance"])]
            self.line(common + self.row(f), f"record {f.index}")

    def check(self):
        if self.differs or self.at != len(self.b):
            raise Wrong(f"{self.file}: {self.differs or 'its end'}")
