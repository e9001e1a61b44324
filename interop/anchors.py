"""What the keys of the policy vouch for: the list of files and who handled the bundle (docs/FORMAT.md, section 8)."""

import base64

from parts import HANDLING, LINE, PREDICATE, STATEMENT, TYPE_HANDLING, TYPE_STATEMENT, ZEROS, exported, need, pae, read_json, sha, to_json


class Anchored:
    """The part of a verification that rests on the policy alone."""

    def check_signature(self, kind, payload, signature, key_id):
        if self.policy:
            key = bytes.fromhex(self.policy["export_key"])
            need(key_id == sha(key).hex() and exported(key, pae(kind, payload), signature), "not signed by the export key")

    def check_envelope(self):
        f = read_json(self.files["statement.sigstore.json"], STATEMENT)
        e, hint = f["dsseEnvelope"], f["verificationMaterial"]["publicKey"]["hint"]
        self.exporter = bytes.fromhex(hint)
        stamps = f["verificationMaterial"].get("timestampVerificationData", {"rfc3161Timestamps": [None]})["rfc3161Timestamps"]
        need(e["payloadType"] == TYPE_STATEMENT and len(e["signatures"]) == 1 and len(stamps) == 1, "envelope")
        want = to_json({"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "manifest.json", "digest":
                        {"sha256": self.manifest.hex()}}], "predicateType": PREDICATE, "predicate":
                        {"tenant": self.scope["tenant"], "origin": self.scope["origin"]}}, line=True).encode()
        payload = base64.b64decode(e["payload"])
        need(payload == want, "not about this list of files")
        self.check_signature(TYPE_STATEMENT, payload, base64.b64decode(e["signatures"][0]["sig"]), hint)

    def check_custody(self):
        b, s, prev = bytes(self.files["custody.jsonl"]), self.scope, ZEROS
        need(b.endswith(b"\n"), "no whole line")
        for line in b[:-1].split(b"\n"):
            f = read_json(line, LINE, line=True)
            need(f["payloadType"] == TYPE_HANDLING and len(f["signatures"]) == 1, "envelope")
            payload, sig = base64.b64decode(f["payload"]), f["signatures"][0]
            self.check_signature(TYPE_HANDLING, payload, base64.b64decode(sig["sig"]), sig["keyid"])
            h = read_json(payload, HANDLING, line=True)
            need((h["prev_sha256"], h["scope_sha256"]) == (prev.hex(), sha(self.files["scope.json"]).hex()), "belongs elsewhere")
            self.handlings.append({k: h[k] for k in ("at", "actor", "action", "purpose", "tool", "tool_sha256")})
            prev = sha(line)
        first, want = self.handlings[0], (s["requester"], s["purpose"], "exported")
        need((first["actor"], first["purpose"], first["action"]) == want, "not the export of this scope")
