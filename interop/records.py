"""Leaves, and the records that stand in the files of a bundle (docs/FORMAT.md, sections 5 and 8)."""

import struct

from events import read_event, read_statement
from parts import TYPE_BATCH, ZEROS, included, leaf_hash, need, pae, root_of, sha, signed


def instance_tag(salt, instance):
    return sha(b"custody/instance/v1\0", salt, instance.encode())


class Leaf:
    def __init__(self, b):
        (version, self.origin, self.index, self.prev, self.time, self.tag, self.batch, self.position, self.kind, self.verdict,
         self.event) = struct.unpack(">B32sQ32sQ32s32sIBB32s", b)
        self.hash = leaf_hash(b)
        need(version == 1 and self.index < 1 << 63 and self.time < 1 << 63, "leaf")
        need(self.kind in (1, 2, 3, 4, 5, 255) and 1 <= self.verdict <= 7, "kind or verdict of a leaf")
        need(self.index > 0 or self.prev == ZEROS, "the first leaf has a predecessor")


class Reader:
    def __init__(self, b):
        self.b, self.at = b, 0

    def take(self, n):
        need(self.at + n <= len(self.b), "cut")
        self.at += n
        return bytes(self.b[self.at - n:self.at])

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def rest(self):
        return self.take(len(self.b) - self.at)

    def end(self):
        need(self.at == len(self.b), "trailing bytes")

    def hashes(self, n):
        return [self.take(32) for _ in range(n)]


def records(b, most):
    """The records of a file, each after its length."""
    r = Reader(b)
    while r.at < len(b):
        size = r.number(4)
        need(0 < size <= most, "size of a record")
        yield r.take(size)


class Proven:
    """A proven record: a batch outside the range, with leaves of it and their proofs."""

    def __init__(self, b):
        r = Reader(b)
        self.first, self.statement = r.number(8), r.take(r.number(2))
        self.signature, self.hashes, self.shown, last = r.take(64), r.hashes(r.number(2)), [], -1
        for _ in range(r.number(2)):
            position, leaf, path, event = r.number(4), r.take(183), r.hashes(r.number(1)), r.take(r.number(4))
            need(last < position < 1024 and len(path) <= 63 and (not event or position < len(self.hashes)), "leaf of a proven record")
            self.shown.append((position, leaf, path, event))
            last = position
        r.end()
        need(self.first < 1 << 63 and self.statement and self.shown and len(self.hashes) <= 1024, "proven record")

    def read(self, scope, last, begin, end):
        """Reads the parts and holds them together; the tree and the signature are left to who knows root and key."""
        need(self.first > last, "not in order")
        self.s, self.leaves, self.events = read_statement(self.statement), [], []
        need(self.s["tenant"] == scope["tenant"], "of another tenant")
        if self.hashes:
            need(len(self.hashes) == self.s["count"] and root_of(self.hashes) == self.s["event_root"], "event root")
        for position, b, _, event in self.shown:
            leaf, index = Leaf(b), self.first + position
            need(begin <= index < end and position < self.s["count"], "not on its side of the range")
            need((leaf.index, leaf.position, leaf.batch) == (index, position, self.s["digest"]), "not a leaf of this batch")
            need(leaf.origin == sha(scope["origin"].encode()), "of another log")
            need(not self.hashes or self.hashes[position] == leaf.event, "event hash")
            self.leaves.append(leaf)
            self.events.append(self.read_event(event, leaf) if event else None)

    def check_tree(self, size, root):
        for leaf, (_, _, path, _) in zip(self.leaves, self.shown):
            need(included(leaf.hash, leaf.index, size, path, root), f"leaf {leaf.index} is not in the tree")

    def read_event(self, b, leaf):
        e = read_event(b)
        need(leaf_hash(b) == leaf.event and e["kind"] == leaf.kind, "not the event of the leaf")
        need((e["tenant"], e["instance"]) == (self.s["tenant"], self.s["instance"]), "of another tenant or instance")
        return e

    def check_signer(self, key, salt):
        """The batch is signed by the key, and its leaves are filed under the instance."""
        need(signed(key["public"], pae(TYPE_BATCH, self.statement), self.signature), "signature")
        need(salt and all(leaf.tag == instance_tag(salt, self.s["instance"]) for leaf in self.leaves), "instance tag")


class Message:
    """A record of batches/range.bin: a message with leaves in the range."""

    def __init__(self, b, begin, end):
        r = Reader(b)
        self.first, self.form, self.s, self.hashes = r.number(8), r.number(1), None, []
        need(self.form in (1, 2), "form")
        self.statement = r.take(r.number(2))
        self.signature = r.take(64) if self.statement or self.form == 1 else b""
        self.s = read_statement(self.statement) if self.statement or self.form == 1 else None
        self.last = self.first + (self.s["count"] if self.form == 1 else 1)
        need(self.first < end and self.last > begin, "outside the range")
        self.begin, self.end = max(self.first, begin), min(self.last, end)
        self.before = r.hashes(self.begin - self.first)
        self.after = r.hashes(self.last - self.end)
        r.end()
