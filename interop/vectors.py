#!/usr/bin/env python3
"""Runs the verifier over the test vectors of the project, and says where it differs.

    vectors.py [FOLDER ...]

A folder holds bundles (NAME.evb, with NAME.json beside each) or the single values of chain, event and signer. Without a folder it
takes those of the repository. See chain/testdata/vectors/README.md.
"""

import base64
import glob
import json
import os
import sys

import isolation
from events import decode, read_event, read_statement
from parts import (Wrong, consistent, included, leaf_hash, pae, read_checkpoint, read_policy, read_signatures, root_of, sha, signed, to_json,
                   verifier_key)
from receipts import read_receipts
from records import Leaf
from verify import Verification

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ["chain/testdata/vectors", "event/testdata/vectors", "signer/testdata/vectors", "evidence/testdata/vectors",
           "evidence/testdata/isolation/vectors"]
KINDS = {"identity": 1, "data": 2, "execution": 3, "approval": 4, "system": 5, "none": 255}
VERDICTS = ["accepted", "gap", "late", "key-invalid", "held", "equivocation", "malformed"]


def same(got, want, what):
    if got != want:
        raise Wrong(f"{what}: got {got}, want {want}")


def leaf(v, before):
    found = Leaf(bytes.fromhex(v["leaf_hex"]))
    same(found.origin, sha(v["origin"].encode()), "origin")
    same((found.index, found.time, found.position), (v["index"], v["time_ns"], v["position"]), "numbers")
    same((found.kind, found.verdict), (KINDS[v["kind"]], VERDICTS.index(v["verdict"]) + 1), "kind and verdict")
    hashes = [found.prev, found.tag, found.batch, found.event, found.hash]
    same([h.hex() for h in hashes], [v[k] for k in ("prev", "instance_tag", "batch_digest", "event_hash", "leaf_hash")], "hashes")
    before.append(found.hash)
    same(root_of(before).hex(), v["root_with_leaves_before"], "root")


def event_root(v, _):
    same([leaf_hash(bytes.fromhex(e)).hex() for e in v["events_hex"]], v["event_hashes"], "event hashes")
    same(root_of(bytes.fromhex(h) for h in v["event_hashes"]).hex(), v["event_root"], "root")


def instance_tag(v, _):
    same(sha(b"custody/instance/v1\0", bytes.fromhex(v["salt"]), v["instance"].encode()).hex(), v["instance_tag"], "tag")


def checkpoint(v, _):
    same(v["body"], f"{v['origin']}\n{v['size']}\n{base64.b64encode(bytes.fromhex(v['root'])).decode()}\n", "body")


def inclusion(v, _):
    path = [bytes.fromhex(h) for h in v["path"]]
    same(included(bytes.fromhex(v["leaf_hash"]), v["index"], v["size"], path, bytes.fromhex(v["root"])), v["valid"], "proof")


def consistency(v, _):
    path = [bytes.fromhex(h) for h in v["path"]]
    same(consistent(v["older"], v["newer"], path, bytes.fromhex(v["older_root"]), bytes.fromhex(v["newer_root"])), v["valid"], "proof")


def events(v, _):
    b = bytes.fromhex(v["event"])
    e = read_event(b)
    same(leaf_hash(b).hex(), v["event_hash"], "event hash")
    same(["identity", "data", "execution", "approval", "system"][e["kind"] - 1], v["action"].split(".")[0], "kind")


def batch(v, _):
    statement = bytes.fromhex(v["statement"])
    same(read_statement(statement)["digest"].hex(), v["batch_digest"], "digest")
    stream = decode("StreamBatch", bytes.fromhex(v["stream_batch"]))
    same(stream["statement"], statement, "statement of the stream batch")


def validity(v, _):
    parse = {"event": read_event, "statement": read_statement, "stream batch": lambda b: decode("StreamBatch", b)}[v["what"]]
    try:
        found = bool(parse(bytes.fromhex(v["bytes"])))
    except Wrong:
        found = False
    same(found, v["valid"], f"validity of {v['what']} {v['bytes']}")


def sealed(v, _):
    parts = [bytes.fromhex(v["event_id"].replace("-", "")), v["path"].encode(), v["media_type"].encode(), bytes.fromhex(v["salt"]),
             bytes.fromhex(v["value"])]
    same(sha(b"custody/sealed/v1\0", *(x for p in parts for x in (len(p).to_bytes(4, "big"), p))).hex(), v["digest"], "digest")


def signer(v, _):
    key, payload = bytes.fromhex(v["public_key"]), bytes.fromhex(v["payload_hex"])
    same(sha(key).hex(), v["key_id"], "key id")
    same(pae(v["payload_type"], payload).hex(), v["pae_hex"], "pre-authentication encoding")
    same(signed(key, pae(v["payload_type"], payload), bytes.fromhex(v["dsse_signature_hex"])), True, "signature")
    note, signatures = read_checkpoint(v["checkpoint"].encode())[0], read_signatures(v["checkpoint"].encode())
    name, digest, material = verifier_key(v["vkey"], 1)
    same((material, signed(key, note, signatures[name, digest])), (key, True), "checkpoint")
    name, digest, _ = verifier_key(v["cosignature_vkey"], 4)
    raw = signatures[name, digest]
    same(signed(key, b"cosignature/v1\ntime %d\n" % int.from_bytes(raw[:8], "big") + note, raw[8:]), True, "cosignature")


VALUES = [leaf, event_root, instance_tag, checkpoint, inclusion, consistency, events, batch, validity, sealed, signer]


def values(name):
    """The vectors of one file of single values; none if they are not about evidence."""
    check = next((f for f in VALUES if f.__name__ == os.path.basename(name)[:-5]), None)
    with open(name, encoding="utf-8") as f:
        content = json.load(f)
    if not check:
        return 0
    vectors = content["vectors"] if isinstance(content, dict) and "vectors" in content else content
    before = []
    for v in vectors if isinstance(vectors, list) else [vectors]:
        check(v, before)
    return 1


def bundle(name):
    """One bundle and what must be found: see the README beside the vectors."""
    with open(name, encoding="utf-8") as f:
        want = json.load(f)
    with open(name[:-5] + ".evb", "rb") as f:
        b = f.read()
    policy = read_policy(to_json(want["policy"]).encode()) if want["policy"] else None
    held = name[:-5] + ".receipts"
    receipts = read_receipts(open(held, "rb").read()) if os.path.exists(held) else ()
    got = json.loads(to_json(Verification(b, policy, receipts=receipts).run()))
    found = {c["name"]: c["result"] for c in got["checks"]}
    for check in want.get("fails", []):
        same(found[check], "failed", f"check {check}")
    for r, other in zip(got.get("receipts", {"list": []})["list"], want["verdict"].get("receipts", {"list": []})["list"], strict=True):
        same((r["result"], r.get("record")), (other["result"], other.get("record")), f"receipt {r['number']}")
    got, want = decided(got), decided(want["verdict"])
    for key in want | got:
        same(got.get(key), want.get(key), key)


def statement(name):
    """One statement of isolation, with the bundle of the folder above if one goes with it."""
    with open(name, encoding="utf-8") as f:
        want = json.load(f)
    with open(name[:-5] + ".isolation", "rb") as f:
        b = f.read()
    beside = os.path.join(os.path.dirname(name), "..", want["bundle"])
    policy = read_policy(to_json(want["policy"]).encode()) if want["policy"] else None
    got = isolation.Statement(policy).run(b, open(beside, "rb").read() if want["bundle"] else None)
    for key in ("exit", "authenticity"):
        same(got[key], want["verdict"][key], key)
    first = next((c["name"] for c in got["checks"] if c["result"] == "failed"), None)
    for c in got["checks"]:
        same(c["result"], want["verdict"]["checks"][c["name"]], c["name"])
        if c["name"] == first:
            break


def decided(verdict):
    """What two verifiers must agree on."""
    checks = [(c["name"], c["result"]) for c in verdict["checks"]]
    if verdict["exit"] < 10:
        return {k: v for k, v in verdict.items() if k != "checks"} | dict(checks)
    first = next(i for i, (_, result) in enumerate(checks) if result == "failed")
    answers = {k: verdict[k] for k in ("version", "exit", "integrity", "authenticity", "completeness", "anchoring")}
    return {"failed first": checks[first][0]} | answers | dict(checks[:first])


def main():
    folders = sys.argv[1:] or [os.path.join(REPOSITORY, f) for f in FOLDERS]
    examined = failed = 0
    for name in sorted(n for f in folders for n in glob.glob(os.path.join(f, "*.json"))):
        try:
            if os.path.exists(name[:-5] + ".evb"):
                bundle(name)
                examined += 1
            elif os.path.exists(name[:-5] + ".isolation"):
                statement(name)
                examined += 1
            else:
                examined += values(name)
        except Wrong as e:
            failed += 1
            print(f"{name}: {e}")
    print(f"{examined} examined, {failed} differ")
    return 1 if failed or not examined else 0


if __name__ == "__main__":
    sys.exit(main())
