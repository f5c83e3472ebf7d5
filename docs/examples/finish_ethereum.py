"""Makes an Ethereum transaction that can be broadcast, out of the unsigned one and its signature r‖s.

    python3 finish_ethereum.py ADDRESS UNSIGNED SIGNATURE > raw.bin

ADDRESS is the key's (0x…, CKA_COUNTERSIGN_ETHEREUM_ADDRESS), UNSIGNED the file that was signed, SIGNATURE what came
of it.

r and s alone fit two public keys; yParity, the parity of the y of the point R, says which. PKCS#11 has no place for it,
so it is found here: it is the one that gives the key's own address back.
"""

import sys

from coincurve import PublicKey
from Crypto.Hash import keccak


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def y_parity(digest, signature, address):
    """0 or 1. For a message or typed data the digest is another one, and v is 27 + y_parity."""
    for parity in (0, 1):
        key = PublicKey.from_signature_and_message(signature + bytes([parity]), digest, hasher=None)
        if keccak256(key.format(compressed=False)[1:])[-20:] == address:
            return parity
    raise ValueError("the signature is not of this address over these bytes")


def integer(number):
    """RLP of an integer: big-endian, without leading zeros; 0 is the empty string."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return data if len(data) == 1 and data[0] < 0x80 else header(0x80, len(data)) + data


def header(base, length):
    """RLP: what stands before a string (base 0x80) or a list (0xc0) of that many bytes."""
    if length < 56:
        return bytes([base + length])
    data = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(data)]) + data


def split(data, base):
    """Splits what stands before a string or a list off: its content, and what comes after it."""
    if base == 0x80 and data[0] < 0x80:
        return data[:1], data[1:]
    short = data[0] - base
    start = 1 if short < 56 else 1 + short - 55
    length = short if short < 56 else int.from_bytes(data[1:start], "big")
    return data[start : start + length], data[start + length :]


def finish(unsigned, signature, address):
    parity = y_parity(keccak256(unsigned), signature, address)
    r, s = (integer(int.from_bytes(half, "big")) for half in (signature[:32], signature[32:]))
    if unsigned[0] < 0x80:  # EIP-2718: the type, then a list. yParity, r, s follow its fields.
        kind, (fields, _) = unsigned[:1], split(unsigned[1:], 0xC0)
        fields += integer(parity) + r + s
    else:  # EIP-155: v, r, s come where chain id, 0, 0 stand, and v is 35 + 2 * chain id + yParity.
        kind, (rest, _) = b"", split(unsigned, 0xC0)
        fields = rest
        for _ in range(6):  # nonce, gas price, gas, to, value, data
            _, rest = split(rest, 0x80)
        chain_id, _ = split(rest, 0x80)
        v = 35 + 2 * int.from_bytes(chain_id, "big") + parity
        fields = fields[: len(fields) - len(rest)] + integer(v) + r + s
    return kind + header(0xC0, len(fields)) + fields


def main():
    address, unsigned, signature = sys.argv[1:]
    with open(unsigned, "rb") as unsigned, open(signature, "rb") as signature:
        raw = finish(unsigned.read(), signature.read(), bytes.fromhex(address.removeprefix("0x")))
    sys.stdout.buffer.write(raw)


if __name__ == "__main__":
    main()
