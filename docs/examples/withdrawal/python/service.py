"""A withdrawal service: the page README.md beside it says what it answers and how it is run."""

import json
import os
import re
import secrets
import subprocess
import sys
import traceback
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import PyKCS11
from coincurve import PublicKey
from Crypto.Hash import keccak
from PyKCS11 import PyKCS11Error, ckbytelist

CKM_COUNTERSIGN_ETHEREUM = 0xC3530001
CKA_COUNTERSIGN_ETHEREUM_ADDRESS = 0xC3530001

STAGE_TIMEOUT_SECS = 20

# What is answered instead: the status, a word for programs, a sentence for the user.
DENIED = (403, "policy", "The policy does not permit this withdrawal. It is closed.")
# A lock, a budget used up, a freeze: another code helps against none of them.
LOCKED = (
    429, "locked",
    "No code is taken now: too many were wrong, which passes with time, or the user has frozen the account. "
    "The withdrawal is kept. If it lasts, look at the account, or ask the custodian.",
)  # fmt: skip
NOT_STAGED = (503, "hsm", "It could not be staged. The withdrawal is kept; try again.")

# What is answered for a return value. All others are ours to mend.
REFUSALS = {
    PyKCS11.CKR_PIN_INCORRECT: (403, "wrong-code", "The code is wrong or was used before. Try the next code."),
    PyKCS11.CKR_PIN_INVALID: (400, "not-a-code", "This is not a code. Type the digits that your authenticator shows."),
    PyKCS11.CKR_PIN_LOCKED: LOCKED,
    PyKCS11.CKR_USER_NOT_LOGGED_IN: (409, "not-approved", "The user has not approved exactly this on his device, or too long ago."),
    PyKCS11.CKR_FUNCTION_REJECTED: DENIED,
    PyKCS11.CKR_DEVICE_ERROR: (503, "hsm", "The HSM cannot be reached. The withdrawal is kept; try again with the next code."),
    PyKCS11.CKR_DEVICE_REMOVED: (503, "hsm", "The HSM was restarted. The withdrawal is kept; try again with the next code."),
    PyKCS11.CKR_FUNCTION_FAILED: (503, "hsm", "The HSM is busy. The withdrawal is kept; try again with the next code."),
}

# What is answered for a word of the command line's. All others that are not the HSM's own state are ours to mend.
STAGE_REFUSALS = {
    "policy-refused": DENIED,
    "limit-exceeded": DENIED,
    "account-frozen": LOCKED,
    "locked": LOCKED,
    "account-over-budget": LOCKED,
    "tenant-over-budget": LOCKED,
    "try-later": LOCKED,
    "too-many-intents": (
        429, "too-many", "Too much waits on the user's device. Let him approve or decline some of it, then stage this again.",
    ),
    "no-device": (409, "no-device", "The user has no device that could approve. Ask him for a code."),
    "busy": NOT_STAGED,
}  # fmt: skip


class Refused(Exception):
    def __init__(self, status, word, sentence):
        super().__init__(sentence)
        self.answer = status, {"error": word, "message": sentence}


class NodeUnreachable(Exception):
    """The node gave no answer: nobody knows whether it did what it was asked."""


class NodeRefused(Exception):
    """The node answered with an error."""


class Signer:
    """One key behind the module. A session of its own for each signature, and one that stays, which keeps the login."""

    def __init__(self, module, api_key, label):
        self.library = PyKCS11.PyKCS11Lib()
        self.library.load(module)
        self.slot = self.library.getSlotList(tokenPresent=True)[0]
        self.standing = self.library.openSession(self.slot)
        self.api_key, self.label = api_key, label

    def with_key(self, act):
        session = self.library.openSession(self.slot)
        try:
            try:
                session.login(self.api_key)
            except PyKCS11Error as error:
                if error.value != PyKCS11.CKR_USER_ALREADY_LOGGED_IN:
                    raise Refused(503, "hsm", "The HSM cannot serve. The withdrawal is kept; try again.") from error
            found = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, self.label)])
            return act(session, found[0])
        except PyKCS11Error as error:
            raise Refused(*REFUSALS.get(error.value, (500, "internal", str(error)))) from error
        finally:
            session.closeSession()  # ends an operation that a wrong code left open

    def address(self):
        read = lambda session, key: session.getAttributeValue(key, [CKA_COUNTERSIGN_ETHEREUM_ADDRESS])[0]
        return bytes(self.with_key(read)).decode()

    def sign(self, transaction, code=None):
        """Signs under a code; without one it signs what the user approved on his device, and nothing else."""

        def act(session, key):
            mechanism = PyKCS11.Mechanism(CKM_COUNTERSIGN_ETHEREUM, None).to_native()
            check(session.lib.C_SignInit(session.session, mechanism, key))
            if code is not None:
                session.login(code, PyKCS11.CKU_CONTEXT_SPECIFIC)
            signature = ckbytelist([0] * 64)
            check(session.lib.C_Sign(session.session, ckbytelist(transaction), signature))
            return bytes(signature)

        return self.with_key(act)


def check(rv):
    if rv != PyKCS11.CKR_OK:
        raise PyKCS11Error(rv)


def run_stage(cli, label, transaction):
    """Gives the transaction to the HSM for the user to approve on his device; the intent's id."""
    command = [cli, "intent", "stage", "--json", "--key", label, "--ethereum", "-"]
    try:
        ended = subprocess.run(command, input=transaction.hex(), stdout=subprocess.PIPE, text=True, timeout=STAGE_TIMEOUT_SECS)
    except subprocess.TimeoutExpired as error:
        raise Refused(*NOT_STAGED) from error
    answer = said(ended.stdout)
    if ended.returncode == 0 and answer.get("intent"):
        return answer["intent"]
    word, code = answer.get("refused"), ended.returncode
    print(f"staging: {word} (exit status {code})", file=sys.stderr, flush=True)
    # 3: refused. 4: the HSM does not serve.
    if code == 3 and word in STAGE_REFUSALS:
        raise Refused(*STAGE_REFUSALS[word])
    raise Refused(*(NOT_STAGED if code == 4 else (500, "internal", "This is ours to mend.")))


def said(output):
    try:
        answer = json.loads(output)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


class Node:
    """An Ethereum node over JSON-RPC."""

    def __init__(self, url):
        self.url = url

    def ask(self, method, *parameters):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                answer = json.load(response)
        except (OSError, ValueError) as error:
            raise NodeUnreachable(method) from error
        if "error" in answer:
            raise NodeRefused(answer["error"].get("message", method))
        return answer["result"]

    def quantity(self, method, *parameters):
        return int(self.ask(method, *parameters), 16)


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def rlp(item):
    """RLP of bytes, of an integer (big-endian, without leading zeros), of a list of such."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else prefix(0x80, len(item)) + item
    content = b"".join(rlp(part) for part in item)
    return prefix(0xC0, len(content)) + content


def prefix(base, length):
    if length < 56:
        return bytes([base + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(size)]) + size


def fields(w):
    """The nine fields of an EIP-1559 transaction; a plain transfer has no data and no access list. Files hold strings."""
    to, amount = bytes.fromhex(w["to"][2:]), int(w["amount_wei"])
    names = ("chain_id", "nonce", "max_priority_fee_per_gas", "max_fee_per_gas")
    return [*(int(w[name]) for name in names), 21_000, to, amount, b"", []]


def unsigned(w):
    return b"\x02" + rlp(fields(w))


def finish(w, signature):
    """The signed transaction. r and s fit two keys: yParity is the one with which they give the key's own address back."""
    digest = keccak256(unsigned(w))
    for parity in (0, 1):
        key = PublicKey.from_signature_and_message(signature + bytes([parity]), digest, hasher=None)
        if keccak256(key.format(compressed=False)[1:])[-20:] == bytes.fromhex(w["from"][2:]):
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            return b"\x02" + rlp(fields(w) + [parity, r, s])
    raise ValueError("the signature is not of this address over this transaction")


def must_be_open(w):
    if w["state"] != "open":
        raise Refused(409, "not-open", "This withdrawal does not wait for the user.")


def sync_folder(folder):
    """A new name in a folder outlives a power cut only when the folder is synced, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Withdrawals:
    """The withdrawals of one key, each a file. One is under way at a time, since two would ask for the same nonce."""

    def __init__(self, signer, node, cli, folder, chain_id, max_fee):
        self.signer, self.node, self.cli, self.folder = signer, node, cli, Path(folder)
        self.chain_id, self.max_fee = chain_id, max_fee
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(self.folder.parent)
        read = (json.loads(file.read_text()) for file in self.folder.glob("*.json"))
        self.all = {w["id"]: w for w in read}

    def save(self, w, **changes):
        """Gives a changed copy. It is durable before anybody is told and before anything here goes by it."""
        w = {**w, **changes}
        temporary = self.folder / f"{w['id']}.new"
        with open(temporary, "w") as file:
            json.dump(w, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / f"{w['id']}.json")
        sync_folder(self.folder)
        self.all[w["id"]] = w
        return w

    def find(self, id):
        if id not in self.all:
            raise Refused(404, "unknown", "There is no such withdrawal.")
        return self.all[id]

    def request(self, asked):
        to, amount = asked.get("to"), asked.get("amount_wei")
        if not (isinstance(to, str) and re.fullmatch("0x[0-9a-fA-F]{40}", to)):
            raise Refused(400, "request", "`to` is an address.")
        if not (isinstance(amount, str) and re.fullmatch("[1-9][0-9]{0,77}", amount) and int(amount) < 2**256):
            raise Refused(400, "request", "`amount_wei` is a whole number of wei, as a string.")
        if any(w["state"] in ("open", "signed") for w in self.all.values()):
            raise Refused(409, "under-way", "Another withdrawal is under way. Finish or cancel it first.")
        sender = self.signer.address()
        tip, fee = self.fees()
        w = {
            "id": secrets.token_hex(16), "state": "open", "from": sender, "to": to, "amount_wei": amount,
            "chain_id": str(self.chain_id), "nonce": str(self.next_nonce(sender)),
            "max_priority_fee_per_gas": str(tip), "max_fee_per_gas": str(fee),
        }  # fmt: skip
        return 201, self.save(w)

    def fees(self):
        """The tip and the most for a unit of gas, as the node has them. A node may lie, so both have bounds."""
        if self.node.quantity("eth_chainId") != self.chain_id:
            raise Refused(502, "node", "The node serves another chain. Nothing was begun.")
        tip = self.node.quantity("eth_maxPriorityFeePerGas")
        base = int(self.node.ask("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
        fee = 2 * base + tip
        if min(tip, base) < 0 or fee > self.max_fee:
            raise Refused(502, "node", "The node asks for a higher fee than is allowed here. Nothing was begun.")
        return tip, fee

    def next_nonce(self, sender):
        """A node may have forgotten what was sent: with its nonce, another withdrawal would take its place."""
        ours = (
            int(w["nonce"]) + 1 for w in self.all.values()
            if w["state"] in ("signed", "sent") and (w["chain_id"], w["from"]) == (str(self.chain_id), sender)
        )  # fmt: skip
        return max([self.node.quantity("eth_getTransactionCount", sender, "pending"), *ours])

    def or_denied(self, w, act, *arguments):
        """What act gives. Where policy denies it, the withdrawal is closed, durably, before anybody is told why."""
        try:
            return act(*arguments)
        except Refused as refused:
            if refused.answer[1]["error"] == "policy":
                self.save(w, state="denied")
            raise

    def stage(self, w):
        must_be_open(w)
        intent = self.or_denied(w, run_stage, self.cli, self.signer.label, unsigned(w))
        return 200, self.save(w, intent=intent)

    def finish(self, w, code=None):
        """Signs under the user's code, or, without one, what he approved on his device; and broadcasts."""
        must_be_open(w)
        raw = finish(w, self.or_denied(w, self.signer.sign, unsigned(w), code))
        return self.broadcast(self.save(w, state="signed", raw="0x" + raw.hex(), hash="0x" + keccak256(raw).hex()))

    def give_code(self, w, asked):
        code = asked.get("code")
        if not (isinstance(code, str) and re.fullmatch("[0-9]{6}|[0-9]{8}", code)):
            raise Refused(*REFUSALS[PyKCS11.CKR_PIN_INVALID])
        return self.finish(w, code)

    def broadcast(self, w):
        """May be repeated: the same transaction is sent, and one that is there already is as good as sent."""
        if w["state"] not in ("signed", "sent"):
            raise Refused(409, "not-signed", "This withdrawal is not signed.")
        try:
            try:
                self.node.ask("eth_sendRawTransaction", w["raw"])
            except NodeRefused as refused:
                if self.node.ask("eth_getTransactionByHash", w["hash"]) is None:
                    raise Refused(502, "node", f"The node refused the transaction: {refused}. It is kept.") from refused
        except NodeUnreachable as error:
            raise Refused(502, "node", "The node cannot be reached. The signed transaction is kept; broadcast it again.") from error
        return 200, self.save(w, state="sent")

    def cancel(self, w):
        if w["state"] != "open":
            raise Refused(409, "not-open", "What is signed cannot be cancelled.")
        return 200, self.save(w, state="cancelled")

    def answer(self, method, path, body):
        match method, path.strip("/").split("/"):
            case "POST", ["withdrawals"]:
                return self.request(body)
            case "GET", ["withdrawals", id]:
                return 200, self.find(id)
            case "DELETE", ["withdrawals", id]:
                return self.cancel(self.find(id))
            case "POST", ["withdrawals", id, "code"]:
                return self.give_code(self.find(id), body)
            case "POST", ["withdrawals", id, "broadcast"]:
                return self.broadcast(self.find(id))
            case "POST", ["withdrawals", id, "stage"]:
                return self.stage(self.find(id))
            case "POST", ["withdrawals", id, "approved"]:
                return self.finish(self.find(id))
        raise Refused(404, "unknown", "There is nothing here.")


class Handler(BaseHTTPRequestHandler):
    def read(self):
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(min(length, 10_000)) or "{}")
            return body if isinstance(body, dict) else {}
        except ValueError as error:
            raise Refused(400, "request", "The body is not JSON.") from error

    def handle_one(self):
        try:
            status, answer = self.server.withdrawals.answer(self.command, self.path, self.read())
        except Refused as refused:
            status, answer = refused.answer
        except (NodeUnreachable, NodeRefused):
            status, answer = 502, {"error": "node", "message": "The node did not answer. Nothing was begun."}
        except Exception:
            traceback.print_exc()
            status, answer = 500, {"error": "internal", "message": "This is ours to mend."}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = handle_one


def main():
    env = os.environ
    signer = Signer(env["MODULE"], env["COUNTERSIGN_API_KEY"], env["KEY"])
    # One request after the other, so that nothing below needs a lock.
    server = HTTPServer(("127.0.0.1", int(env.get("PORT", "8080"))), Handler)
    max_fee = int(env.get("MAX_FEE_GWEI", "300")) * 10**9
    server.withdrawals = Withdrawals(
        signer, Node(env["NODE_URL"]), env.get("CLI", ""), env["STORE"], int(env["CHAIN_ID"]), max_fee
    )
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
