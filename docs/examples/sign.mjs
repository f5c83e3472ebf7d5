// Signs what a file holds through Countersign's PKCS#11 module, under one code of the key's owner.
//
//     node sign.mjs MODULE KEY MECHANISM FILE > signature.bin
//
// MODULE is the path of libcountersign_pkcs11.so, KEY the key's label (alice/ethereum), MECHANISM one of digest,
// ethereum, typed-data, message, psbt. Standard output gets r‖s (64 bytes), or the signed PSBT. The API key is the value of
// COUNTERSIGN_API_KEY; codes are read from standard input, one a line, until one is right. Neither is ever an argument.
//
// Exit codes: 0 signed; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
import fs from "node:fs";
import readline from "node:readline";
import pkcs11js from "pkcs11js";

const MECHANISMS = {
  digest: pkcs11js.CKM_ECDSA, ethereum: 0xc3530001, "typed-data": 0xc3530002, message: 0xc3530003, psbt: 0xc3530004,
};

// What a person should know of a return value. "Return values" in docs/pkcs11.md has them all.
const SENTENCES = {
  [pkcs11js.CKR_PIN_INCORRECT]: "The API key is not valid on this HSM.",
  [pkcs11js.CKR_PIN_LOCKED]: "Too many wrong codes were given. The account takes codes again later.",
  [pkcs11js.CKR_USER_PIN_NOT_INITIALIZED]: "The account's enrolment is not finished.",
  [pkcs11js.CKR_USER_NOT_LOGGED_IN]: "The code was given too long ago. Begin again with a new one.",
  [pkcs11js.CKR_MECHANISM_INVALID]: "The key was not made for this mechanism.",
  [pkcs11js.CKR_FUNCTION_REJECTED]: "The custodian's policy does not permit this. The code is spent.",
  [pkcs11js.CKR_DATA_INVALID]: "The HSM cannot read this data, or cannot vouch for it. The code is spent.",
  [pkcs11js.CKR_DATA_LEN_RANGE]: "A digest has 32 bytes. The code is spent.",
  [pkcs11js.CKR_DEVICE_ERROR]: "The HSM cannot serve, or did not answer. Begin again with a new code.",
};

/** Nothing was signed; the message says why. */
class Refused extends Error {}

/** pkcs11js throws its own Pkcs11Error, with the return value as code; but from C_FindObjects an Error whose message ends with it. */
function returnValue(error) {
  return error instanceof pkcs11js.Pkcs11Error ? error.code : Number(/^CKR_\w+:(\d+)$/.exec(error.message)?.[1]);
}

function findKey(p11, session, label) {
  p11.C_FindObjectsInit(session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: label },
  ]);
  const [key] = p11.C_FindObjects(session, 1);
  p11.C_FindObjectsFinal(session);
  if (!key) throw new Refused("There is no key of this label.");
  return key;
}

/** The context-specific login: asks for codes until one is right. A wrong one leaves the operation as it was. */
async function approve(p11, session, label) {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (;;) {
    process.stderr.write(`Code for ${label}: `);
    const { value: code, done } = await lines.next();
    if (done) throw new Refused("No right code was given. Nothing is signed.");
    try {
      return p11.C_Login(session, pkcs11js.CKU_CONTEXT_SPECIFIC, code);
    } catch (error) {
      if (error.code === pkcs11js.CKR_PIN_INCORRECT) {
        // Counted: some wrong codes in a row lock the account.
        console.error("The code is wrong or was used before. Wait for the next one.");
      } else if (error.code === pkcs11js.CKR_PIN_INVALID) {
        console.error("This is not a code."); // Not counted.
      } else {
        throw error;
      }
    }
  }
}

async function sign(p11, apiKey, label, mechanism, data) {
  const session = p11.C_OpenSession(p11.C_GetSlotList(true)[0], pkcs11js.CKF_SERIAL_SESSION);
  p11.C_Login(session, pkcs11js.CKU_USER, apiKey);
  p11.C_SignInit(session, { mechanism }, findKey(p11, session, label));
  await approve(p11, session, label);
  // pkcs11js asks for no size: this is room for what signing adds to a PSBT at the most, and for r‖s.
  return p11.C_Sign(session, data, Buffer.alloc(data.length + 27648));
}

async function main() {
  const [module, label, mechanism, file, ...more] = process.argv.slice(2);
  const apiKey = process.env.COUNTERSIGN_API_KEY;
  if (!file || more.length > 0 || !(mechanism in MECHANISMS) || apiKey === undefined) {
    console.error("usage: COUNTERSIGN_API_KEY=... node sign.mjs MODULE KEY MECHANISM FILE > signature.bin");
    return 2;
  }
  let data;
  try {
    data = fs.readFileSync(file);
  } catch (error) {
    console.error(error.message);
    return 2;
  }
  const p11 = new pkcs11js.PKCS11();
  p11.load(module);
  try {
    p11.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
    try {
      fs.writeSync(1, await sign(p11, apiKey, label, MECHANISMS[mechanism], data));
    } finally {
      p11.C_Finalize();
    }
    return 0;
  } catch (error) {
    if (error instanceof Refused) {
      console.error(error.message);
      return 3;
    }
    const value = returnValue(error);
    if (Number.isNaN(value)) throw error;
    console.error(`${SENTENCES[value] ?? "The HSM refused."} (${error.message})`);
    return value === pkcs11js.CKR_DEVICE_ERROR ? 4 : 3;
  } finally {
    p11.close();
  }
}

process.exit(await main());
