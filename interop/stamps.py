"""RFC 3161 time stamps: DER, and as much of CMS as they need (docs/FORMAT.md, section 7)."""

import calendar
import hashlib
import re
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from parts import Wrong, need

NOT_QUALIFIED = "1.3.6.1.4.1.32473.3161.1"
DAY = 24 * 60 * 60
HASHES = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
SIGNATURES = {"1.2.840.113549.1.1.1": (rsa.RSAPublicKey, None), "1.3.101.112": (ed25519.Ed25519PublicKey, None)}
for last, hashed in ((11, "sha256"), (12, "sha384"), (13, "sha512")):
    SIGNATURES[f"1.2.840.113549.1.1.{last}"] = rsa.RSAPublicKey, hashed
    SIGNATURES[f"1.2.840.10045.4.3.{last - 9}"] = ec.EllipticCurvePublicKey, hashed
SEQUENCE, SET, INTEGER, OCTETS, OID, TIME = 0x30, 0x31, 2, 4, 6, 0x18


class Der:
    """Elements, one after the other."""

    def __init__(self, b):
        self.b, self.at = bytes(b), 0

    def more(self, tag=None):
        return self.at < len(self.b) and tag in (None, self.b[self.at])

    def next(self, tag=None):
        """The content of the next element, and all of it."""
        b, at = self.b, self.at
        need(len(b) >= at + 2 and tag in (None, b[at]) and b[at] & 31 != 31, "element")
        size, head = b[at + 1], 2
        if size >= 128:
            n = size & 127
            need(0 < n <= 4 and len(b) >= at + 2 + n, "length")
            size, head = int.from_bytes(b[at + 2:at + 2 + n], "big"), 2 + n
            need(size >= 128 and size >> 8 * (n - 1), "length")
        self.at = at + head + size
        need(self.at <= len(b), "cut")
        return b[at + head:self.at], b[at:self.at]

    def inside(self, tag=SEQUENCE):
        return Der(self.next(tag)[0])

    def number(self, tag=INTEGER):
        return int.from_bytes(self.next(tag)[0], "big", signed=True)

    def oid(self):
        b, parts, n = self.next(OID)[0], [], 0
        need(b and b[-1] < 128, "object identifier")
        for c in b:
            n = n << 7 | c & 127
            if c < 128:
                parts, n = parts + [n], 0
        first = min(parts[0] // 40, 2)
        return ".".join(map(str, [first, parts[0] - 40 * first, *parts[1:]]))

    def only(self):
        need(not self.more(), "trailing bytes")
        return self


def only(b):
    d = Der(b)
    _, whole = d.next()
    d.only()
    return Der(whole)


class Stamp:
    def __init__(self, response, lists=()):
        """Lists of revoked certificates are beside those that the stamp carries."""
        need(len(response) <= 64 << 10, "size of the time stamp")
        try:
            self.read(response)
        except (ValueError, x509.UnsupportedGeneralNameType) as e:
            raise Wrong(f"certificate: {e}") from e
        self.lists += lists

    def read(self, response):
        r = only(response).inside()
        need(r.inside().number() in (0, 1), "refused")
        token = r.inside()
        need(token.oid() == "1.2.840.113549.1.7.2", "not signed data")
        data = token.inside(0xA0).inside()
        need(data.number() == 3, "version of the signed data")
        data.next(SET)
        content = data.inside()
        need(content.oid() == "1.2.840.113549.1.9.16.1.4", "not over a time")
        info = content.inside(0xA0).next(OCTETS)[0]
        certificates = []
        if data.more(0xA0):
            inside = data.inside(0xA0)
            while inside.more():
                certificates.append(x509.load_der_x509_certificate(inside.next(SEQUENCE)[1]))
        self.lists = read_lists(data.next(0xA1)[0]) if data.more(0xA1) else []
        signers = data.inside(SET)
        signer = signers.inside()
        signers.only()
        self.read_info(info)
        self.check_signer(signer, info, certificates)

    def read_info(self, b):
        i = only(b).inside()
        need(i.number() == 1, "version of the time")
        self.policy, imprint = i.oid(), i.inside()
        need(HASHES.get(imprint.inside().oid()) == "sha256", "imprint of another hash")
        self.imprint = imprint.next(OCTETS)[0]
        need(len(self.imprint) == 32, "imprint")
        i.number()
        m = re.fullmatch(rb"(\d{14})(?:\.(\d{1,9}))?Z", i.next(TIME)[0])
        need(m, "time")
        seconds = calendar.timegm(time.strptime(m[1].decode(), "%Y%m%d%H%M%S"))
        self.at, self.accuracy = seconds * 10**9 + int((m[2] or b"0").ljust(9, b"0")), 0
        if i.more(SEQUENCE):
            a = i.inside()
            for tag, unit, most in ((INTEGER, 10**9, DAY), (0x80, 10**6, 999), (0x81, 10**3, 999)):
                if a.more(tag):
                    n = a.number(tag)
                    need(0 <= n <= most, "accuracy")
                    self.accuracy += n * unit

    def check_signer(self, s, info, certificates):
        s.number()
        if s.more(0x80):
            key_id = s.next()[0]
            named = [c for c in certificates if subject_key_id(c) == key_id]
        else:
            name = s.inside()
            issuer, serial = name.next(SEQUENCE)[1], name.number()
            named = [c for c in certificates if c.issuer.public_bytes() == issuer and c.serial_number == serial]
        need(named, "the signer's certificate is not inside")
        self.signer, self.others = named[0], [c for c in certificates if c is not named[0]]
        hashed = HASHES.get(s.inside().oid())
        need(hashed, "hash of the signer")
        attributes = b"\x31" + s.next(0xA0)[1][1:]
        self.check_attributes(attributes, info, hashed)
        algorithm = s.inside()
        oid, key = algorithm.oid(), self.signer.public_key()
        kind, by = SIGNATURES.get(oid, (None, None))
        if pss := oid == "1.2.840.113549.1.1.10":
            kind = rsa.RSAPublicKey
            check_pss(algorithm.inside(), hashed)
        need(kind and isinstance(key, kind) and verifies(key, s.next(OCTETS)[0], attributes, by or hashed, pss), "signature")

    def check_attributes(self, b, info, hashed):
        values, r = {}, only(b).inside(SET)
        while r.more():
            a = r.inside()
            oid, v = a.oid(), a.inside(SET)
            need(oid not in values, "an attribute twice")
            values[oid] = v.next()[1]
            v.only()
        need(Der(values.get("1.2.840.113549.1.9.3", b"")).oid() == "1.2.840.113549.1.9.16.1.4", "content type")
        digest = Der(values.get("1.2.840.113549.1.9.4", b"")).next(OCTETS)[0]
        need(digest == hashlib.new(hashed, info).digest(), "message digest")
        raw, by = self.signer.public_bytes(Encoding.DER), "sha256"
        if v2 := values.get("1.2.840.113549.1.9.16.2.47"):
            first = Der(v2).inside().inside().inside()
            if first.more(SEQUENCE):
                by = HASHES.get(first.inside().oid())
        else:
            first, by = Der(values.get("1.2.840.113549.1.9.16.2.12", b"")).inside().inside().inside(), "sha1"
        need(by and first.next(OCTETS)[0] == hashlib.new(by, raw).digest(), "another certificate was signed")

    def qualified(self):
        return self.policy != NOT_QUALIFIED

    def check_of(self, message):
        need(hashlib.sha256(message).digest() == self.imprint, "of something else")

    def check_authority(self, roots):
        """Whether the certificate is for time stamps alone and leads to a root; says whether it was looked up among the revoked."""
        usage = [e for e in self.signer.extensions if isinstance(e.value, x509.ExtendedKeyUsage)]
        need(usage and usage[0].critical and list(usage[0].value) == [ExtendedKeyUsageOID.TIME_STAMPING], "not for time stamps alone")
        ways = list(self.ways(self.signer, roots, 0))
        need(ways, "leads to no root that was valid then")
        answers = [a for a in map(self.judge, ways) if a]
        need(answers, "revoked")
        return max(answers)

    def ways(self, c, roots, depth):
        if depth > 8 or not valid_from(c) <= self.at // 10**9 <= valid_to(c):
            return
        if any(c.public_bytes(Encoding.DER) == r.public_bytes(Encoding.DER) for r in roots):
            yield [c]
            return
        for i in [*roots, *self.others]:
            if i is not c and issued(c, i):
                yield from ([c, *way] for way in self.ways(i, roots, depth + 1))

    def judge(self, way):
        """What the lists of the issuers say of a way to a root; None if one of its certificates is revoked."""
        checked = len(way) > 1
        for c, by in zip(way, way[1:]):
            lists = [x for x in self.lists if counts(x, by)]
            if any(self.voided(c, x) for x in lists):
                return None
            checked = checked and any(self.covered(x) for x in lists)
        return "not-revoked" if checked else "not-checked"

    def covered(self, crl):
        until = field(crl, "next_update")
        return until and seconds(until) * 10**9 > self.at or seconds(field(crl, "last_update")) * 10**9 >= self.at

    def voided(self, c, crl):
        for e in crl:
            if e.serial_number == c.serial_number:
                reason = next((x.value.reason for x in e.extensions if isinstance(x.value, x509.CRLReason)), None)
                if reason not in HARMLESS or seconds(field(e, "revocation_date")) * 10**9 <= self.at + self.accuracy:
                    return True
        return False


HARMLESS = {x509.ReasonFlags.unspecified, x509.ReasonFlags.affiliation_changed, x509.ReasonFlags.superseded, x509.ReasonFlags.cessation_of_operation}


def read_lists(b):
    lists, d = [], Der(b)
    while d.more():
        try:
            tag = d.b[d.at]
            whole = d.next()[1]
            if tag == SEQUENCE:
                lists.append(x509.load_der_x509_crl(whole))
        except Wrong:
            break
        except ValueError:
            pass
    return lists


def read_list(b):
    """A list of revoked certificates in a file, DER or PEM."""
    need(len(b) <= 1 << 20, "size of a list of revoked certificates")
    try:
        return (x509.load_pem_x509_crl if b"-----BEGIN" in b else x509.load_der_x509_crl)(b)
    except ValueError as e:
        raise Wrong(f"malformed list of revoked certificates: {e}") from e


def counts(crl, by):
    """Whether a list is the issuer's own, and asks for nothing that is not understood here."""
    usage = next((e.value for e in by.extensions if isinstance(e.value, x509.KeyUsage)), None)
    critical = any(e.critical for e in crl.extensions) or any(x.critical for e in crl for x in e.extensions)
    hashed = crl.signature_hash_algorithm.name if crl.signature_hash_algorithm else ""
    may = (not usage or usage.crl_sign) and crl.issuer == by.subject and not critical
    return may and verifies(by.public_key(), crl.signature, crl.tbs_certlist_bytes, hashed)


def check_pss(p, hashed):
    need(HASHES.get(p.inside(0xA0).inside().oid()) == hashed, "hash of RSA-PSS")
    mask = p.inside(0xA1).inside()
    need(mask.oid() == "1.2.840.113549.1.1.8" and HASHES.get(mask.inside().oid()) == hashed, "mask of RSA-PSS")
    need(p.inside(0xA2).number() == hashlib.new(hashed).digest_size, "salt of RSA-PSS")
    p.only()


def subject_key_id(c):
    try:
        return c.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def field(x, name):
    """A time of a certificate or list: newer versions of the library have another name for it."""
    return getattr(x, name + "_utc") if hasattr(x, name + "_utc") else getattr(x, name)


def seconds(at):
    return calendar.timegm(at.timetuple())


def valid_from(c):
    return seconds(field(c, "not_valid_before"))


def valid_to(c):
    return seconds(field(c, "not_valid_after"))


def issued(c, by):
    """Whether one certificate is signed by another, which may issue any for time stamps."""
    extensions = {type(e.value): e.value for e in by.extensions}
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.ExtendedKeyUsage)
    may = constraints and constraints.ca and (not usage or ExtendedKeyUsageOID.TIME_STAMPING in usage)
    hashed = c.signature_hash_algorithm.name if c.signature_hash_algorithm else ""
    return c.issuer == by.subject and may and verifies(by.public_key(), c.signature, c.tbs_certificate_bytes, hashed)


def verifies(key, signature, message, hashed, pss=False):
    by = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}.get(hashed)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey) and by:
            key.verify(signature, message, ec.ECDSA(by))
        elif isinstance(key, rsa.RSAPublicKey) and by:
            key.verify(signature, message, padding.PSS(padding.MGF1(by), by.digest_size) if pss else padding.PKCS1v15(), by)
        else:
            return False
        return True
    except InvalidSignature:
        return False
