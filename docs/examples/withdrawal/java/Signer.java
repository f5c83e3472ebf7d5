import java.io.IOException;
import java.nio.charset.StandardCharsets;
import sun.security.pkcs11.wrapper.CK_ATTRIBUTE;
import sun.security.pkcs11.wrapper.CK_C_INITIALIZE_ARGS;
import sun.security.pkcs11.wrapper.CK_MECHANISM;
import sun.security.pkcs11.wrapper.PKCS11;
import sun.security.pkcs11.wrapper.PKCS11Constants;
import sun.security.pkcs11.wrapper.PKCS11Exception;

/** One key behind the module. A session of its own for each signature, and one that stays, which keeps the login. */
final class Signer {
    private static final long CKM_COUNTERSIGN_ETHEREUM = 0xc3530001L;
    private static final long CKA_COUNTERSIGN_ETHEREUM_ADDRESS = 0xc3530001L;
    // The wrapper of JDK 17 does not name these.
    private static final long CKU_CONTEXT_SPECIFIC = 2;
    private static final long CKR_USER_ALREADY_LOGGED_IN = 0x100;

    private interface Act {
        byte[] with(long session, long key) throws PKCS11Exception;
    }

    private final PKCS11 p11;
    private final long slot;
    private final char[] apiKey;
    private final byte[] label;

    Signer(String module, String apiKey, String label) throws IOException, PKCS11Exception {
        var arguments = new CK_C_INITIALIZE_ARGS();
        arguments.flags = PKCS11Constants.CKF_OS_LOCKING_OK;
        this.p11 = PKCS11.getInstance(module, "C_GetFunctionList", arguments, false);
        this.slot = p11.C_GetSlotList(true)[0];
        this.apiKey = apiKey.toCharArray();
        this.label = label.getBytes(StandardCharsets.UTF_8);
        open();
    }

    private long open() throws PKCS11Exception {
        return p11.C_OpenSession(slot, PKCS11Constants.CKF_SERIAL_SESSION, null, null);
    }

    /** What is answered for a return value. All others are ours to mend. */
    private static Refused refused(PKCS11Exception e) {
        String again = " The withdrawal is kept; try again with the next code.";
        return switch ((int) e.getErrorCode()) {
            case 0xa0 -> new Refused(403, "wrong-code", "The code is wrong or was used before. Try the next code.");
            case 0xa1 -> notACode();
            case 0xa4 -> locked();
            case 0x101 -> new Refused(409, "not-approved",
                    "The user has not approved exactly this on his device, or too long ago.");
            case 0x200 -> denied();
            case 0x30 -> new Refused(503, "hsm", "The HSM cannot be reached." + again);
            case 0x32 -> new Refused(503, "hsm", "The HSM was restarted." + again);
            case 0x06 -> new Refused(503, "hsm", "The HSM is busy." + again);
            default -> new Refused(500, "internal", e.getMessage());
        };
    }

    static Refused notACode() {
        return new Refused(400, "not-a-code", "This is not a code. Type the digits that your authenticator shows.");
    }

    static Refused denied() {
        return new Refused(403, "policy", "The policy does not permit this withdrawal. It is closed.");
    }

    /** A lock, a budget used up, a freeze: another code helps against none of them. */
    static Refused locked() {
        return new Refused(429, "locked",
                "No code is taken now: too many were wrong, which passes with time, or the user has frozen the account. "
                        + "The withdrawal is kept. If it lasts, look at the account, or ask the custodian.");
    }

    private byte[] withKey(Act act) throws Refused {
        try {
            long session = open();
            try {
                logIn(session);
                return act.with(session, find(session));
            } finally {
                p11.C_CloseSession(session); // ends an operation that a wrong code left open
            }
        } catch (PKCS11Exception e) {
            throw refused(e);
        }
    }

    private void logIn(long session) throws Refused {
        try {
            p11.C_Login(session, PKCS11Constants.CKU_USER, apiKey);
        } catch (PKCS11Exception e) {
            if (e.getErrorCode() != CKR_USER_ALREADY_LOGGED_IN) {
                throw new Refused(503, "hsm", "The HSM cannot serve. The withdrawal is kept; try again.");
            }
        }
    }

    private long find(long session) throws PKCS11Exception {
        p11.C_FindObjectsInit(session, new CK_ATTRIBUTE[] {
            new CK_ATTRIBUTE(PKCS11Constants.CKA_CLASS, PKCS11Constants.CKO_PRIVATE_KEY),
            new CK_ATTRIBUTE(PKCS11Constants.CKA_LABEL, label),
        });
        long[] found = p11.C_FindObjects(session, 1);
        p11.C_FindObjectsFinal(session);
        return found[0];
    }

    String address() throws Refused {
        var wanted = new CK_ATTRIBUTE[] {new CK_ATTRIBUTE(CKA_COUNTERSIGN_ETHEREUM_ADDRESS)};
        byte[] address = withKey((session, key) -> {
            p11.C_GetAttributeValue(session, key, wanted);
            return wanted[0].getByteArray();
        });
        return new String(address, StandardCharsets.UTF_8);
    }

    /** Signs under a code; where that is null it signs what the user approved on his device, and nothing else. */
    byte[] sign(byte[] transaction, String code) throws Refused {
        return withKey((session, key) -> {
            p11.C_SignInit(session, new CK_MECHANISM(CKM_COUNTERSIGN_ETHEREUM), key);
            if (code != null) {
                p11.C_Login(session, CKU_CONTEXT_SPECIFIC, code.toCharArray());
            }
            return p11.C_Sign(session, transaction);
        });
    }
}
