import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import sun.security.pkcs11.wrapper.CK_ATTRIBUTE;
import sun.security.pkcs11.wrapper.CK_C_INITIALIZE_ARGS;
import sun.security.pkcs11.wrapper.CK_MECHANISM;
import sun.security.pkcs11.wrapper.PKCS11;
import sun.security.pkcs11.wrapper.PKCS11Constants;
import sun.security.pkcs11.wrapper.PKCS11Exception;

/**
 * Signs what a file holds through Countersign's PKCS#11 module, under one code of the key's owner.
 *
 * <pre>java … Sign MODULE KEY MECHANISM FILE &gt; signature.bin</pre>
 *
 * MODULE is the path of libcountersign_pkcs11.so, KEY the key's label (alice/ethereum), MECHANISM one of digest,
 * ethereum, typed-data, message, psbt. Standard output gets r‖s (64 bytes), or the signed PSBT. The API key is the value of
 * COUNTERSIGN_API_KEY; codes are read from standard input, one a line, until one is right. Neither is ever an argument.
 *
 * <p>Exit codes: 0 signed; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
 *
 * <p>The KeyStore of SunPKCS11 knows no login for each signature, so this calls the wrapper beneath it.
 */
public final class Sign {
    private static final Map<String, Long> MECHANISMS = Map.of("digest", PKCS11Constants.CKM_ECDSA,
            "ethereum", 0xc3530001L, "typed-data", 0xc3530002L, "message", 0xc3530003L, "psbt", 0xc3530004L);

    // The wrapper of JDK 17 names only some of these.
    private static final long CKU_CONTEXT_SPECIFIC = 2;
    private static final int CKR_DATA_INVALID = 0x20;
    private static final int CKR_DATA_LEN_RANGE = 0x21;
    private static final int CKR_DEVICE_ERROR = 0x30;
    private static final int CKR_MECHANISM_INVALID = 0x70;
    private static final int CKR_PIN_INCORRECT = 0xa0;
    private static final int CKR_PIN_INVALID = 0xa1;
    private static final int CKR_PIN_LOCKED = 0xa4;
    private static final int CKR_USER_NOT_LOGGED_IN = 0x101;
    private static final int CKR_USER_PIN_NOT_INITIALIZED = 0x102;
    private static final int CKR_FUNCTION_REJECTED = 0x200;

    /** Nothing was signed; the message says why. */
    @SuppressWarnings("serial")
    private static final class Refused extends Exception {
        Refused(String message) {
            super(message);
        }
    }

    /** What a person should know of a return value. "Return values" in docs/pkcs11.md has them all. */
    private static String sentence(long returnValue) {
        return switch ((int) returnValue) {
            case CKR_PIN_INCORRECT -> "The API key is not valid on this HSM.";
            case CKR_PIN_LOCKED -> "Too many wrong codes were given. The account takes codes again later.";
            case CKR_USER_PIN_NOT_INITIALIZED -> "The account's enrolment is not finished.";
            case CKR_USER_NOT_LOGGED_IN -> "The code was given too long ago. Begin again with a new one.";
            case CKR_MECHANISM_INVALID -> "The key was not made for this mechanism.";
            case CKR_FUNCTION_REJECTED -> "The custodian's policy does not permit this. The code is spent.";
            case CKR_DATA_INVALID -> "The HSM cannot read this data, or cannot vouch for it. The code is spent.";
            case CKR_DATA_LEN_RANGE -> "A digest has 32 bytes. The code is spent.";
            case CKR_DEVICE_ERROR -> "The HSM cannot serve, or did not answer. Begin again with a new code.";
            default -> "The HSM refused.";
        };
    }

    private static long findKey(PKCS11 p11, long session, String label) throws PKCS11Exception, Refused {
        p11.C_FindObjectsInit(session, new CK_ATTRIBUTE[] {
            new CK_ATTRIBUTE(PKCS11Constants.CKA_CLASS, PKCS11Constants.CKO_PRIVATE_KEY),
            new CK_ATTRIBUTE(PKCS11Constants.CKA_LABEL, label.getBytes(StandardCharsets.UTF_8)),
        });
        long[] found = p11.C_FindObjects(session, 1);
        p11.C_FindObjectsFinal(session);
        if (found.length == 0) {
            throw new Refused("There is no key of this label.");
        }
        return found[0];
    }

    /** The context-specific login: asks for codes until one is right. A wrong one leaves the operation as it was. */
    private static void approve(PKCS11 p11, long session, String label) throws PKCS11Exception, IOException, Refused {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (true) {
            System.err.print("Code for " + label + ": ");
            String code = input.readLine();
            if (code == null) {
                throw new Refused("No right code was given. Nothing is signed.");
            }
            try {
                p11.C_Login(session, CKU_CONTEXT_SPECIFIC, code.toCharArray());
                return;
            } catch (PKCS11Exception e) {
                switch ((int) e.getErrorCode()) {
                    // Counted: some wrong codes in a row lock the account.
                    case CKR_PIN_INCORRECT ->
                            System.err.println("The code is wrong or was used before. Wait for the next one.");
                    // Not counted.
                    case CKR_PIN_INVALID -> System.err.println("This is not a code.");
                    default -> throw e;
                }
            }
        }
    }

    /** Where its own room is too small, the wrapper's C_Sign asks again with what the module wants for a PSBT. */
    private static byte[] sign(PKCS11 p11, long session, String label, long mechanism, byte[] data)
            throws PKCS11Exception, IOException, Refused {
        p11.C_SignInit(session, new CK_MECHANISM(mechanism), findKey(p11, session, label));
        approve(p11, session, label);
        return p11.C_Sign(session, data);
    }

    private static int run(String module, String label, long mechanism, Path file, String apiKey) throws IOException {
        byte[] data = Files.readAllBytes(file);
        var arguments = new CK_C_INITIALIZE_ARGS();
        arguments.flags = PKCS11Constants.CKF_OS_LOCKING_OK;
        try {
            PKCS11 p11 = PKCS11.getInstance(module, "C_GetFunctionList", arguments, false);
            long slot = p11.C_GetSlotList(true)[0];
            long session = p11.C_OpenSession(slot, PKCS11Constants.CKF_SERIAL_SESSION, null, null);
            p11.C_Login(session, PKCS11Constants.CKU_USER, apiKey.toCharArray());
            System.out.write(sign(p11, session, label, mechanism, data));
            System.out.flush();
            return 0;
        } catch (Refused refused) {
            System.err.println(refused.getMessage());
            return 3;
        } catch (PKCS11Exception e) {
            System.err.println(sentence(e.getErrorCode()) + " (" + e.getMessage() + ")");
            return e.getErrorCode() == CKR_DEVICE_ERROR ? 4 : 3;
        }
    }

    public static void main(String[] args) {
        String apiKey = System.getenv("COUNTERSIGN_API_KEY");
        if (args.length != 4 || !MECHANISMS.containsKey(args[2]) || apiKey == null) {
            System.err.println("usage: COUNTERSIGN_API_KEY=... java Sign MODULE KEY MECHANISM FILE > signature.bin");
            System.exit(2);
        }
        try {
            System.exit(run(args[0], args[1], MECHANISMS.get(args[2]), Path.of(args[3]), apiKey));
        } catch (IOException e) {
            System.err.println(e);
            System.exit(2);
        }
    }
}
