#!/usr/bin/env python3
"""Verifies an attestation with nothing but Python, written from docs/attestation.md alone.

    verify_attestation.py --root HEX [--nonce HEX] [--measurement HEX]... [--hsm-id HEX] [--allow WORD]... FILE
    verify_attestation.py --vectors FILE

The first prints the claims as JSON and exits 0, or {"refused": WORD} and exits 3. The second runs a file of test vectors.
"""

import argparse
import collections
import hashlib
import json
import sys
import unicodedata

MOST_BYTES = 8192
PROFILE = "urn:uuid:74ebe922-2d56-438e-8875-bf9914453faf"
MALFORMED = "malformed-attestation"
WEAKNESSES = {
    "development-image": lambda said: said["development"] or said["release_keys"] is None,
    "manual-clock": lambda said: said["clock"] != "system",
    "weak-sandbox": lambda said: said["missing_sandbox_layers"] != [],
    "clock-in-doubt": lambda said: not said["clock_sure"],
    "no-policy": lambda said: said["policy"] is None,
    "platform-unchecked": lambda said: not said["platform_expected"] and (said["boundary"] == "vm" or said["platform"] is not None),
}


class Refused(Exception):
    """Why an attestation is not believed; `word` is the document's word for it."""

    word = property(lambda self: self.args[0])


# Deterministic CBOR (RFC 8949 section 4.2.1)
Tagged = collections.namedtuple("Tagged", "tag value")


class Reader:
    """Reads data items of the kinds that the profile has: integers, byte and text strings, arrays, maps whose keys are integers or
    texts, tags, false, true and null."""

    DEEPEST = 16
    SIMPLE = {20: False, 21: True, 22: None}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """The next `count` bytes."""
        if count > len(self.data) - self.at:
            raise Refused(MALFORMED)
        self.at += count
        return self.data[self.at - count : self.at]

    def head(self):
        """The major type and the argument of a head (RFC 8949 section 3), in its shortest form; no floats, nothing indefinite."""
        first = self.take(1)[0]
        major, argument = first >> 5, first & 0x1F
        if argument >= 24:
            if argument > 27 or major == 7:
                raise Refused(MALFORMED)
            size = 1 << (argument - 24)
            argument = int.from_bytes(self.take(size), "big")
            if argument < (24 if size == 1 else 1 << (4 * size)):
                raise Refused(MALFORMED)
        return major, argument

    def item(self, depth=0):
        """One data item with all that is in it."""
        major, argument = self.head()
        if depth > self.DEEPEST or (major == 7 and argument not in self.SIMPLE):
            raise Refused(MALFORMED)
        if major in (0, 1):
            return argument if major == 0 else -1 - argument
        if major in (2, 3):
            data = self.take(argument)
            return data if major == 2 else utf8(data)
        if major == 4:
            return [self.item(depth + 1) for _ in range(argument)]
        if major == 5:
            return self.map(argument, depth)
        return Tagged(argument, self.item(depth + 1)) if major == 6 else self.SIMPLE[argument]

    def map(self, count, depth):
        """The entries of a map, its keys in strictly rising bytewise order of their encodings."""
        entries, before = {}, b""
        for _ in range(count):
            start = self.at
            key = self.item(depth + 1)
            encoded = self.data[start : self.at]
            if type(key) not in (int, str) or encoded <= before:
                raise Refused(MALFORMED)
            before, entries[key] = encoded, self.item(depth + 1)
        return entries


def utf8(data):
    """The text that is encoded in `data` (RFC 3629)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(MALFORMED) from error


def decode(data):
    """The one data item that `data` is, with nothing behind it."""
    reader = Reader(data)
    value = reader.item()
    if reader.at != len(data):
        raise Refused(MALFORMED)
    return value


def encode_bytes(data):
    """A byte string of less than 65,536 bytes (RFC 8949 section 3)."""
    size = len(data)
    if size < 24:
        return bytes([0x40 + size]) + data
    return (bytes([0x58, size]) if size < 256 else b"\x59" + size.to_bytes(2, "big")) + data


# ECDSA over P-256 with SHA-256 (FIPS 186-5 section 6.4; the curve: SP 800-186 section 3.2.1.3). None is the point at infinity.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def point(encoded):
    """The point x‖y, or None if it is not on the curve (SP 800-186 appendix D.1.1)."""
    x, y = int.from_bytes(encoded[:32], "big"), int.from_bytes(encoded[32:], "big")
    return (x, y) if max(x, y) < P and (y * y - (x * x * x - 3 * x + B)) % P == 0 else None


def add(a, b):
    """The sum of two points, in affine coordinates."""
    if a is None or b is None:
        return a or b
    (x1, y1), (x2, y2) = a, b
    if x1 == x2 and y1 != y2:
        return None
    slope = 3 * (x1 * x1 - 1) * pow(2 * y1, -1, P) if a == b else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def multiply(scalar, base):
    """`scalar` times a point, by doubling and adding: everything here is public, so it need not take constant time."""
    result = None
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, base)
    return result


def ecdsa_verifies(key, message, signature):
    """FIPS 186-5 section 6.4.2, for r‖s (RFC 9053 section 2.1) with s in the lower half of the group order."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if key is None or not 0 < r < N or not 0 < s <= N // 2:
        return False
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, N)
    sum_ = add(multiply(digest * inverse % N, G), multiply(r * inverse % N, key))
    return sum_ is not None and sum_[0] % N == r


# What claims look like

def fits(x, shape):
    """Whether a value has a shape. Types are compared first, as in Python True == 1. A shape is: a map of the keys that are there,
    and no other; a tuple: an array of just these; a list: this, or null; a set: one of these; a number: so many bytes; a range: a
    number of bytes in it; int: an integer that is not negative; bool; str: a text; or a function that says."""
    if type(shape) is dict:
        return type(x) is dict and x.keys() == shape.keys() and all(fits(x[key], shape[key]) for key in shape)
    if type(shape) is tuple:
        return type(x) is list and len(x) == len(shape) and all(map(fits, x, shape))
    if type(shape) is list:
        return x is None or fits(x, shape[0])
    if type(shape) is set:
        return any(type(x) is type(value) and x == value for value in shape)
    if type(shape) in (int, range):
        return type(x) is bytes and (len(x) == shape if type(shape) is int else len(x) in shape)
    if shape is int:
        return type(x) is int and x >= 0
    if shape is bool:
        return type(x) is bool
    if shape is str:
        short = type(x) is str and len(x.encode()) <= 128
        return short and all(unicodedata.category(character) != "Cc" for character in x)
    return shape(x)


HWMODEL = lambda x: type(x) is bytes and fits(utf8(x), str)  # a text in bytes: RFC 9711 section 4.2.4
TEXTS = lambda x: type(x) is list and len(x) <= 16 and all(fits(each, str) for each in x)
UEID = lambda x: fits(x, 17) and x[0] == 1  # type RAND, of 128 bits: RFC 9711 section 4.2.1
POINT = lambda x: fits(x, 65) and x[0] == 4  # uncompressed: SEC 1 section 2.3.3
OCTETS = range(MOST_BYTES)
VERSION = (str, {16384})  # RFC 9711 sections 4.2.5 and 4.2.7
COSE_KEY = {1: {2}, -1: {1}, -2: 32, -3: 32}  # RFC 9053 section 7.1.1
ENDORSEMENT = {8: {1: COSE_KEY}, 256: UEID, -70009: POINT}  # cnf: RFC 8747 section 3.2
PLUGIN = {
    267: int, 271: VERSION, -70101: str, -70102: [(int, 32)], -70103: [32], -70104: 65, -70105: 65, -70106: [32], -70107: 32,
    -70109: bool,
}  # fmt: skip
CLAIMS = {
    6: int, 10: range(8, 65), 256: UEID, 259: HWMODEL, 260: VERSION, 263: {0, 3}, 265: str, 266: {"plugin": PLUGIN},
    -70001: 48, -70002: str, -70003: str, -70004: TEXTS, -70005: TEXTS, -70006: str, -70007: (int, 48, 32),
    -70008: [(int, 32)], -70010: str, -70011: [48],
}  # fmt: skip


# COSE_Sign1 (RFC 9052 section 4.2)

class Sign1:
    """A tagged COSE_Sign1 with an empty unprotected header, a protected header of some shape, and a signature of 64 bytes."""

    def __init__(self, value, shape):
        if type(value) is not Tagged or value.tag != 18 or not fits(value.value, (OCTETS, {}, OCTETS, 64)):
            raise Refused(MALFORMED)
        self.protected, _, self.payload, self.signature = value.value
        self.header = decode(self.protected)
        if not fits(self.header, shape):
            raise Refused(MALFORMED)

    def verifies(self, key):
        """Whether `key` signed the Sig_structure (RFC 9052 section 4.4)."""
        signed = b"\x84\x6aSignature1" + encode_bytes(self.protected) + b"\x40" + encode_bytes(self.payload)
        return ecdsa_verifies(key, signed, self.signature)


# Verifying

def authentic_claims(attestation, root):
    """Steps 1 to 7 of the document, in its order: the claims as they were signed."""
    if len(attestation) > MOST_BYTES:
        raise Refused(MALFORMED)
    outer = Sign1(decode(attestation), {1: {-7}, 3: {263}, 13: lambda x: True})  # RFC 9052 section 3.1; 13: kcwt, RFC 9528
    endorsement = Sign1(outer.header[13], {1: {-7}})
    endorsed = decode(endorsement.payload)
    if type(endorsed) is not dict or not fits(endorsed.get(-70009), POINT) or not point(endorsed[-70009][1:]):
        raise Refused(MALFORMED)
    if hashlib.sha256(endorsed[-70009]).digest() != root:
        raise Refused("wrong-root")
    if not endorsement.verifies(point(endorsed[-70009][1:])):
        raise Refused("bad-chain")
    attestation_key = fits(endorsed, ENDORSEMENT) and point(endorsed[8][1][-2] + endorsed[8][1][-3])
    if not attestation_key:
        raise Refused(MALFORMED)
    if not outer.verifies(attestation_key):
        raise Refused("wrong-signature")
    claims = decode(outer.payload)
    if type(claims) is not dict or not fits(claims.get(265), str):
        raise Refused(MALFORMED)
    if claims[265] != PROFILE:
        raise Refused("another-profile")
    if not fits(claims, CLAIMS):
        raise Refused(MALFORMED)
    if claims[256] != endorsed[256]:
        raise Refused("another-hsm")
    return claims


def named(claims):
    """The claims by readable names."""
    plugin = claims[266]["plugin"]
    release_keys, policy = claims[-70008], plugin[-70102]
    return {
        "hsm_id": claims[256][1:], "measurement": claims[-70001], "image_version": claims[-70010], "platform": claims[-70011], "version": plugin[271][0],
        "unix_time": claims[6], "clock": claims[-70002], "clock_sure": plugin[-70109],
        "keystore": claims[-70003], "boundary": claims[-70006],
        "sandbox_layers": claims[-70004], "missing_sandbox_layers": claims[-70005],
        "hardware_model": claims[259].decode("utf-8"), "firmware_version": claims[260][0], "development": claims[263] == 0,
        "lineage": {"first": claims[-70007][1], "upgrades": claims[-70007][0], "head": claims[-70007][2]},
        "release_keys": release_keys and {"sha256": release_keys[1], "threshold": release_keys[0]},
        "tenant": plugin[-70101], "policy": policy and {"version": policy[0], "sha256": policy[1]}, "officers": plugin[-70103],
        "boot_count": plugin[267], "store_head": plugin[-70107],
        "statement_key": plugin[-70104], "sealing_key": plugin[-70105], "log_key": plugin[-70106],
    }  # fmt: skip


def verify(attestation, root, nonce, measurements, platforms, hsm_id, allow):
    """The claims of an attestation by readable names; raises Refused. None and empty lists: nothing is expected."""
    claims = authentic_claims(attestation, root)
    said = named(claims)
    if nonce is not None and claims[10] != nonce:
        raise Refused("wrong-nonce")
    if hsm_id is not None and said["hsm_id"] != hsm_id:
        raise Refused("unexpected-hsm")
    if measurements and said["measurement"] not in measurements:
        raise Refused("unexpected-measurement")
    if platforms and said["platform"] not in platforms:
        raise Refused("unexpected-platform")
    for word, applies in WEAKNESSES.items():
        if applies(said | {"platform_expected": bool(platforms)}) and word not in allow:
            raise Refused(word)
    return said


# The program

def run_vectors(file):
    """Runs each vector; names the first that does not come out as the file says."""
    counts = {"accepted": 0, "refused": 0}
    document = json.load(file)
    for vector in document["vectors"]:
        attestation = bytes.fromhex(vector["attestation"])
        nonce, hsm_id = (bytes.fromhex(vector[key]) if vector[key] else None for key in ("nonce", "hsm_id"))
        measurements, platforms = ([bytes.fromhex(each) for each in vector[key]] for key in ("measurements", "platforms"))
        word, said = None, {}
        try:
            root = bytes.fromhex(document["root"])
            said = verify(attestation, root, nonce, measurements, platforms, hsm_id, vector["allow"])
        except Refused as refusal:
            word = refusal.word
        if not word and "claims" in vector and json.loads(json.dumps(said, default=bytes.hex)) != vector["claims"]:
            print(f"{vector['name']}: {said} is not what the file says", file=sys.stderr)
            return 1
        if word != vector["refused"]:
            print(f"{vector['name']}: {word or 'accepted'}, not {vector['refused'] or 'accepted'}", file=sys.stderr)
            return 1
        counts["refused" if word else "accepted"] += 1
    print(json.dumps(counts))
    return 0


def main():
    """Reads the arguments; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verifies an attestation as docs/attestation.md says.")
    parser.add_argument("--vectors", type=argparse.FileType("rb"), metavar="FILE", help="run these test vectors instead")
    for name in ("--root", "--nonce", "--hsm-id"):
        parser.add_argument(name, type=bytes.fromhex, metavar="HEX")
    for name in ("--measurement", "--platform"):
        parser.add_argument(name, type=bytes.fromhex, metavar="HEX", action="append", default=[])
    parser.add_argument("--allow", choices=WEAKNESSES, metavar="WORD", action="append", default=[])
    parser.add_argument("file", nargs="?", type=argparse.FileType("rb"), metavar="FILE", help="the attestation; -: standard input")
    given = parser.parse_args()
    if given.vectors:
        return run_vectors(given.vectors)
    if given.root is None or given.file is None:
        parser.error("--root and FILE are needed, or --vectors")
    attestation = given.file.read(MOST_BYTES + 1)
    try:
        claims = verify(attestation, given.root, given.nonce, given.measurement, given.platform, given.hsm_id, given.allow)
    except Refused as refusal:
        print(json.dumps({"refused": refusal.word}))
        return 3
    print(json.dumps(claims, default=bytes.hex))
    return 0


if __name__ == "__main__":
    sys.exit(main())
