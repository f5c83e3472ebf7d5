"""Signs what a file holds through Countersign's PKCS#11 module, under one code of the key's owner.

    python3 sign.py MODULE KEY MECHANISM FILE > signature.bin

MODULE is the path of libcountersign_pkcs11.so, KEY the key's label (alice/ethereum), MECHANISM one of digest,
ethereum, typed-data, message, psbt. Standard output gets r‖s (64 bytes), or the signed PSBT. The API key is the value of
COUNTERSIGN_API_KEY; codes are read from standard input, one a line, until one is right. Neither is ever an argument.

Exit codes: 0 signed; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
"""

import os
import sys

import PyKCS11
from PyKCS11 import PyKCS11Error, ckbytelist

MECHANISMS = {"digest": PyKCS11.CKM_ECDSA, "ethereum": 0xC3530001, "typed-data": 0xC3530002, "message": 0xC3530003, "psbt": 0xC3530004}

# What a person should know of a return value. "Return values" in docs/pkcs11.md has them all.
SENTENCES = {
    PyKCS11.CKR_PIN_INCORRECT: "The API key is not valid on this HSM.",
    PyKCS11.CKR_PIN_LOCKED: "Too many wrong codes were given. The account takes codes again later.",
    PyKCS11.CKR_USER_PIN_NOT_INITIALIZED: "The account's enrolment is not finished.",
    PyKCS11.CKR_USER_NOT_LOGGED_IN: "The code was given too long ago. Begin again with a new one.",
    PyKCS11.CKR_MECHANISM_INVALID: "The key was not made for this mechanism.",
    PyKCS11.CKR_FUNCTION_REJECTED: "The custodian's policy does not permit this. The code is spent.",
    PyKCS11.CKR_DATA_INVALID: "The HSM cannot read this data, or cannot vouch for it. The code is spent.",
    PyKCS11.CKR_DATA_LEN_RANGE: "A digest has 32 bytes. The code is spent.",
    PyKCS11.CKR_DEVICE_ERROR: "The HSM cannot serve, or did not answer. Begin again with a new code.",
}


class Refused(Exception):
    """Nothing was signed; the text says why."""


def check(rv):
    if rv != PyKCS11.CKR_OK:
        raise PyKCS11Error(rv)


def find_key(session, label):
    found = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, label)])
    if not found:
        raise Refused("There is no key of this label.")
    return found[0]


def approve(session, label):
    """The context-specific login: asks for codes until one is right. A wrong one leaves the operation as it was."""
    while True:
        print(f"Code for {label}: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise Refused("No right code was given. Nothing is signed.")
        try:
            return session.login(line.rstrip("\r\n"), PyKCS11.CKU_CONTEXT_SPECIFIC)
        except PyKCS11Error as error:
            if error.value == PyKCS11.CKR_PIN_INCORRECT:  # counted: some wrong codes in a row lock the account
                print("The code is wrong or was used before. Wait for the next one.", file=sys.stderr)
            elif error.value == PyKCS11.CKR_PIN_INVALID:  # not counted
                print("This is not a code.", file=sys.stderr)
            else:
                raise


def sign(session, label, mechanism, data):
    """PyKCS11's own `Session.sign` has no gap for the login, so this makes its three calls itself."""
    key = find_key(session, label)
    data, signature = ckbytelist(data), ckbytelist()
    check(session.lib.C_SignInit(session.session, PyKCS11.Mechanism(mechanism, None).to_native(), key))
    # With an empty list this is a size query, which makes room in the list, and signs and spends nothing.
    check(session.lib.C_Sign(session.session, data, signature))
    approve(session, label)
    check(session.lib.C_Sign(session.session, data, signature))
    return bytes(signature)


def main():
    api_key = os.environ.get("COUNTERSIGN_API_KEY")
    if len(sys.argv) != 5 or sys.argv[3] not in MECHANISMS or api_key is None:
        print("usage: COUNTERSIGN_API_KEY=... sign.py MODULE KEY MECHANISM FILE > signature.bin", file=sys.stderr)
        return 2
    _, module, label, mechanism, path = sys.argv
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        library = PyKCS11.PyKCS11Lib()
        library.load(module)
        session = library.openSession(library.getSlotList(tokenPresent=True)[0])
        session.login(api_key)
        signature = sign(session, label, MECHANISMS[mechanism], data)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 3
    except PyKCS11Error as error:
        print(f"{SENTENCES.get(error.value, 'The HSM refused.')} ({error})", file=sys.stderr)
        return 4 if error.value == PyKCS11.CKR_DEVICE_ERROR else 3
    sys.stdout.buffer.write(signature)
    return 0


if __name__ == "__main__":
    sys.exit(main())
