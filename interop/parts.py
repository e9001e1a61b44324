"""Hashes, keys, JSON files and the container: what an evidence bundle is made of (docs/FORMAT.md, sections 1 to 3, 5, 7 and 8)."""

import base64
import calendar
import hashlib
import json
import re
import struct
import time
import zlib
from collections import Counter

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

TYPE_BATCH = "application/vnd.custody.batch.v1+protobuf"
TYPE_STATEMENT = "application/vnd.in-toto+json"
TYPE_HANDLING = "application/vnd.custody.handling.v1+json"
PREDICATE = "https://github.com/agentcustody/custody/evidence/v1"
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SMALL, HUGE = 1 << 20, 1 << 50
JSON_TYPE, RECORDS = "application/json", "application/octet-stream"
LAYOUT = [  # name, media type, greatest size
    ("manifest.json", JSON_TYPE, SMALL), ("statement.sigstore.json", SIGSTORE, SMALL), ("scope.json", JSON_TYPE, SMALL),
    ("log/checkpoint", "text/plain", SMALL), ("log/checkpoint.tsr", "application/timestamp-reply", SMALL),
    ("log/anchors.bin", RECORDS, HUGE), ("log/leaves.bin", RECORDS, HUGE), ("log/range.json", JSON_TYPE, SMALL),
    ("log/consistency/proofs.json", JSON_TYPE, SMALL), ("batches/range.bin", RECORDS, HUGE), ("batches/before.bin", RECORDS, HUGE),
    ("batches/after.bin", RECORDS, HUGE),
    ("events/range.bin", RECORDS, HUGE), ("openings/range.bin", RECORDS, HUGE), ("keys/before.bin", RECORDS, HUGE),
    ("keys/range.bin", RECORDS, HUGE), ("keys/after.bin", RECORDS, HUGE), ("emitters.json", JSON_TYPE, HUGE), ("redactions.json", JSON_TYPE, SMALL),
    *((f"populations/{name}.csv", "text/csv", HUGE)
      for name in ("sensitive-actions", "approvals", "grants", "changes", "containments", "reviews")),
    ("controls.json", JSON_TYPE, SMALL), ("custody.jsonl", "application/jsonl", SMALL), ("report.html", "text/html", 16 << 20),
    ("VERIFY.md", "text/markdown", SMALL),
]
ZEROS = bytes(32)


class Wrong(Exception):
    """Something is not as FORMAT.md says."""


def need(condition, why):
    if not condition:
        raise Wrong(why)


# -- hashes, keys and signatures (sections 2, 3, 5) --


def sha(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p)
    return h.digest()


def leaf_hash(b):
    return sha(b"\0", b)


def node(left, right):
    return sha(b"\1", left, right)


class Tree:
    """A Merkle tree that grows at the right by whole subtrees."""

    def __init__(self):
        self.stack = []  # (height, hash), largest first

    def push(self, height, h):
        while self.stack and self.stack[-1][0] == height:
            h, height = node(self.stack.pop()[1], h), height + 1
        self.stack.append((height, h))

    def root(self):
        if not self.stack:
            return sha(b"")
        h = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            h = node(left, h)
        return h


def subtrees(begin, end):
    """Heights of the largest complete subtrees between two leaves, from left to right."""
    while begin < end:
        k = 0
        while begin >> k & 1 == 0 and begin + (2 << k) <= end:
            k += 1
        yield k
        begin += 1 << k


def root_of(hashes):
    t = Tree()
    for h in hashes:
        t.push(0, h)
    return t.root()


def included(h, index, size, path, root):
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        return False
    fn, sn = index, size - 1
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            h = node(p, h)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            h = node(h, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and h == root


def consistent(older, newer, path, old_root, new_root):
    """RFC 9162, section 2.1.4.2; every tree is consistent with the empty one, without a path."""
    if older > newer or older in (0, newer):
        return older <= newer and not path and (old_root == new_root if older else old_root == sha(b""))
    if not older & (older - 1):
        path = [old_root, *path]
    if not path:
        return False
    fn, sn, fr = older - 1, newer - 1, path[0]
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    sr = fr
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (fr, sr) == (old_root, new_root)


P = 2**255 - 19
SMALL_ORDER = {0, 1, P - 1, 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
               0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FB83D3D706A17C7}


def good_key(b):
    y = int.from_bytes(b, "little") & (1 << 255) - 1
    return len(b) == 32 and y < P and y not in SMALL_ORDER


def signed(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(bytes(key)).verify(bytes(signature), message)
        return True
    except (InvalidSignature, ValueError):
        return False


P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


def p256(b):
    """The key of a SubjectPublicKeyInfo on P-256 with a whole point, in its one encoding."""
    need(len(b) == 91 and b.startswith(P256_PREFIX), "not a key on P-256")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b[26:])
    except ValueError as e:
        raise Wrong("no point of P-256") from e


def export_key(s):
    """The text of an export key: of Ed25519, or on P-256."""
    need(isinstance(s, str) and re.fullmatch(r"([0-9a-f]{64}|[0-9a-f]{182})", s), "not an export key")
    b = bytes.fromhex(s)
    need(p256(b) if len(b) == 91 else good_key(b), "not an export key")


def exported(key, message, signature):
    """Whether an export key has signed: with Ed25519, or with ECDSA over SHA-256 in DER."""
    if len(key) == 32:
        return signed(key, message, signature)
    try:
        need(encode_dss_signature(*decode_dss_signature(signature)) == signature, "not the one encoding of DER")
        p256(key).verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError, Wrong):
        return False


def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def good_name(s):
    return re.fullmatch(r"[a-z0-9-]{1,63}", s) is not None


def good_origin(s):
    return 1 <= len(s.encode()) <= 255 and not any(c == "+" or c.isspace() or ord(c) < 32 or 127 <= ord(c) < 160 for c in s)


def verifier_key(text, kind):
    """Name, hash and key of a verifier key (C2SP signed-note)."""
    name, _, rest = text.partition("+")
    material = strict_base64(rest.partition("+")[2])
    need(len(material) == 33 and material[0] == kind and good_origin(name) and good_key(material[1:]), "not a verifier key")
    digest = sha(name.encode(), b"\n", material)[:4]
    need(text == f"{name}+{digest.hex()}+{base64.b64encode(material).decode()}", "not the one encoding of a verifier key")
    return name, digest, material[1:]


def strict_base64(text):
    try:
        b = base64.b64decode(text, validate=True)
    except ValueError as e:
        raise Wrong("not base64") from e
    need(base64.b64encode(b).decode() == text, "not the one encoding of base64")
    return b


def read_checkpoint(b):
    """The text of a signed checkpoint, which is all up to the first empty line, (origin, size) and root (section 7)."""
    text = b[:b.find(b"\n\n") + 1]
    m = re.fullmatch(rb"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]{44})\n", text)
    need(m and len(b) <= 64 << 10, "not a checkpoint")
    try:
        origin, size, root = m[1].decode(), int(m[2]), strict_base64(m[3].decode())
    except UnicodeDecodeError as e:
        raise Wrong("not UTF-8") from e
    need(good_origin(origin) and len(root) == 32 and size < 1 << 63 and (size == 0) == (root == sha(b"")), "checkpoint")
    return text, (origin, size), root


def read_signatures(b):
    """The signatures of a note by name and key hash (C2SP signed-note)."""
    try:
        text = b.decode()
    except UnicodeDecodeError as e:
        raise Wrong("not UTF-8") from e
    need(all(ord(c) >= 32 or c == "\n" for c in text) and text.endswith("\n"), "not a signed note")
    signatures = {}
    for line in text[text.index("\n\n") + 2:-1].split("\n"):
        m = re.fullmatch(r"\u2014 (\S+) (\S+)", line)
        need(m and "+" not in m[1], "signature line")
        try:
            raw = base64.b64decode(m[2], validate=True)
        except ValueError as e:
            raise Wrong("signature line") from e
        need(len(raw) >= 5, "signature")
        signatures.setdefault((m[1], raw[:4]), raw[4:])
    return signatures


# -- JSON files (section 8, container) --


def instant(s):
    """Nanoseconds since 1970 of 2026-01-31T00:00:00.000000000Z."""
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", s, re.ASCII)
    need(m, "not a time")
    try:
        seconds = calendar.timegm(time.strptime(m[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError as e:
        raise Wrong("not a time") from e
    ns = seconds * 10**9 + int(m[2])
    need(0 <= ns < 1 << 63 and time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) == m[1], "not a time")
    return ns


def hex32(s):
    return hexed(s, 32)


def hexed(s, size):
    need(isinstance(s, str) and re.fullmatch(r"[0-9a-f]{%d}" % (2 * size), s), "not lower-case hexadecimal")
    return bytes.fromhex(s)


HEX, TIME, BASE64 = hex32, instant, strict_base64
SCOPE = {"version": 1, "tenant": str, "origin": str, "time_basis": "received", "from": TIME, "to": TIME, "grace?": int,
         "instance?": str, "run?": str, "requester": str, "purpose": str, "begin": int, "end": int, "size": int}
COUNTS = ["records", "clear", "held", "withheld", "expired", "outside", "fields_disclosed", "fields_withheld", "fields_erased"]
MANIFEST = {"version": 1, "files": [{"path": str, "size": int, "sha256": HEX, "media_type": str}], "claims":
            {k + "?" * (k == "outside"): int for k in COUNTS}}


def account(reasons, tombstones, count):
    """redactions.json of reasons with their counts, of the tombstone of every erased field, and of the other counts."""
    stones = [{"leaf": leaf, "fields": n} for leaf, n in sorted(Counter(tombstones).items())[:8192]]
    return {"version": 1, "reasons": reasons, "tombstones": stones, "erased": count["fields_erased"], "held": count["held"],
            "expired": count["expired"]}


def counted(count):
    return {k: n for k, n in count.items() if n or k != "outside"}


ENVELOPE = {"payload": BASE64, "payloadType": str, "signatures": [{"sig": BASE64}]}
STATEMENT = {"mediaType": SIGSTORE, "verificationMaterial": {"publicKey": {"hint": HEX}, "timestampVerificationData?": {"rfc3161Timestamps": [{"signedTimestamp": BASE64}]}}, "dsseEnvelope": ENVELOPE}
LINE = ENVELOPE | {"signatures": [{"keyid": HEX, "sig": BASE64}]}
HANDLING = {"version": 1, "at": TIME, "actor": str, "action": str, "purpose": str, "tool": str, "tool_sha256": HEX,
            "scope_sha256": HEX, "prev_sha256": HEX}
RANGE = {"begin": int, "end": int, "size": int, "left": [HEX], "right": [HEX]}
CONSISTENCY = {"version": 1, "proofs": [{"checkpoint": str, "hashes": [HEX]}]}
REDACTIONS = {"version": 1, "reasons": [{"reason": str, "fields": int, "records": int}], "tombstones": [{"leaf": int, "fields": int}],
              "erased": int, "held": int, "expired": int}
POLICY = {"version": 1, "tenant": str, "origin": str, "log_key": str, "system_key": HEX, "export_key": export_key, "time_key?": str,
          "witnesses?": [str], "timestamp_roots?": [BASE64]}


def fits(value, shape):
    """Whether a value has the fields of a shape, in their order; those with ? may be left out."""
    if isinstance(shape, dict):
        need(isinstance(value, dict) and list(value) == [k.strip("?") for k in shape if k.strip("?") in value], "other fields")
        for k, s in shape.items():
            if not k.endswith("?") or k.strip("?") in value:
                need(k.strip("?") in value, f"{k} is missing")
                fits(value[k.strip("?")], s)
    elif isinstance(shape, list):
        need(isinstance(value, list), "not a list")
        for v in value:
            fits(v, shape[0])
    elif shape in (str, int):
        need(type(value) is shape and (shape is str or 0 <= value < 1 << 64), "of another type")
    elif callable(shape):
        need(isinstance(value, str), "not a text")
        shape(value)
    else:
        need(type(value) is type(shape) and value == shape, f"not {shape!r}")


def to_json(value, line=False):
    text = json.dumps(value, ensure_ascii=False, indent=None if line else 2, separators=(",", ":") if line else None)
    for c in "<>&\u2028\u2029" if line else "\u2028\u2029":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return text + ("" if line else "\n")


def read_json(b, shape, line=False, loose=False):
    try:
        text = bytes(b).decode()
        value = json.loads(text)
        fits(value, shape)
        again = to_json(value, line)
        if loose:
            text, again = (re.sub(r'("(?:[^"\\]|\\.)*")|\s+', r"\1", t) for t in (text, again))
        need(again.encode() == text.encode(), "not the one encoding")
        return value
    except (ValueError, RecursionError) as e:  # of json, of UTF-8
        raise Wrong(f"JSON: {e}") from e


def read_policy(b):
    need(len(b) <= 256 << 10, "size of the policy")
    try:
        p = read_json(b, POLICY, loose=True)
    except Wrong as e:
        raise Wrong(f"not a policy: {e}") from e
    need(good_name(p["tenant"]) and verifier_key(p["log_key"], 1)[0] == p["origin"], "log key")
    need(good_key(bytes.fromhex(p["system_key"])), "system key")
    if "time_key" in p:
        verifier_key(p["time_key"], 4)
    return p


# -- the container (section 8) --


def extra64(numbers):
    large = [n for n in numbers if n >= 0xFFFFFFFF]
    return struct.pack("<HH", 1, 8 * len(large)) + b"".join(struct.pack("<Q", n) for n in large) if large else b""


def header(name, size, crc, extra):
    n = min(size, 0xFFFFFFFF)
    return struct.pack("<HHHHHIIIHH", 45 if extra else 20, 0, 0, 0, 33, crc, n, n, len(name), len(extra))


def directory_entry(name, size, crc, at):
    extra = extra64([size, size, at])
    made = struct.pack("<H", 3 << 8 | (45 if extra else 20))
    rest = struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, min(at, 0xFFFFFFFF))
    return b"PK\1\2" + made + header(name, size, crc, extra) + rest + name + extra


def open_container(b):
    """The files by name, and the names of those whose CRC-32 is wrong."""
    at, files, directory, bad = 0, {}, b"", []
    for name, _, limit in LAYOUT:
        begin, encoded = at + 30 + len(name), name.encode()
        need(len(b) >= begin, "cut")
        crc, size = struct.unpack_from("<I4xI", b, at + 14)
        if size == 0xFFFFFFFF:
            need(len(b) >= begin + 20, "cut")
            size, = struct.unpack_from("<Q", b, begin + 4)
        extra = extra64([size, size])
        whole = b"PK\3\4" + header(encoded, size, crc, extra) + encoded + extra
        need(b[at:at + len(whole)] == whole and size <= limit and at + len(whole) + size <= len(b), f"header of {name}")
        directory += directory_entry(encoded, size, crc, at)
        files[name] = memoryview(b)[at + len(whole):at + len(whole) + size]
        if zlib.crc32(files[name]) != crc:
            bad.append(name)
        at += len(whole) + size
    need(b[at:] == directory + container_end(len(directory), at), "directory")
    return files, bad


def container_end(size, start):
    count, end = len(LAYOUT), b""
    if start >= 0xFFFFFFFF:
        end = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 3 << 8 | 45, 45, 0, 0, count, count, size, start)
        end += b"PK\6\7" + struct.pack("<IQI", 0, start + size, 1)
    return end + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, min(start, 0xFFFFFFFF), 0)
