import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.ProviderException;
import java.security.Security;
import java.security.Signature;
import java.util.Collections;
import java.util.List;

/**
 * Signs a digest that the user approved before, through Java's own PKCS#11 provider and its KeyStore.
 *
 * <pre>java SignApproved MODULE                            lists the keys
 * java SignApproved MODULE KEY FILE &gt; signature.bin     signs the 32 bytes of FILE</pre>
 *
 * MODULE is the path of libcountersign_pkcs11.so, KEY the label of a key that signs digests (alice/digest). Standard
 * output gets the labels, one a line, or r‖s (64 bytes). The API key is the value of COUNTERSIGN_API_KEY, never an
 * argument.
 *
 * <p>Exit codes: 0 done; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
 *
 * <p>SunPKCS11 knows no login for each signature, so it can give no code: it signs what the user approved on a device,
 * and nothing else. Sign.java gives codes.
 */
public final class SignApproved {
    /** The provider shows a return value only as the message of the innermost exception. */
    private static String returnValue(Throwable thrown) {
        String found = "";
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            String message = String.valueOf(cause.getMessage());
            if (message.startsWith("CKR_")) {
                found = message;
            }
        }
        return found;
    }

    /** What a person should know of a return value. "Return values" in docs/pkcs11.md has them all. */
    private static String sentence(String returnValue) {
        return switch (returnValue) {
            case "CKR_PIN_INCORRECT" -> "The API key is not valid on this HSM.";
            case "CKR_USER_NOT_LOGGED_IN" -> "The user has not approved exactly this, or too long ago.";
            case "CKR_PIN_LOCKED" -> "The account is frozen or locked.";
            case "CKR_MECHANISM_INVALID" -> "The key was not made to sign digests.";
            case "CKR_DATA_LEN_RANGE" -> "A digest has 32 bytes.";
            case "CKR_FUNCTION_REJECTED" -> "The custodian's policy does not permit this, or the key wants more.";
            case "CKR_DEVICE_ERROR" -> "The HSM cannot serve, or did not answer.";
            default -> "The HSM refused.";
        };
    }

    /** The module as a provider. It need not be registered: every use below names it. */
    private static Provider provider(String module) {
        return Security.getProvider("SunPKCS11").configure("""
                --name = countersign
                library = "%s"
                slotListIndex = 0
                """.formatted(module));
    }

    private static byte[] sign(Provider provider, PrivateKey key, byte[] digest) throws GeneralSecurityException {
        Signature signature = Signature.getInstance("NONEwithECDSAinP1363Format", provider);
        signature.initSign(key);
        signature.update(digest);
        return signature.sign();
    }

    private static int run(String[] args, char[] apiKey) throws IOException, GeneralSecurityException {
        Provider provider = provider(args[0]);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, apiKey);
        if (args.length == 1) {
            List<String> labels = Collections.list(store.aliases());
            labels.stream().sorted().forEach(System.out::println);
            return 0;
        }
        byte[] digest = Files.readAllBytes(Path.of(args[2]));
        PrivateKey key = (PrivateKey) store.getKey(args[1], null);
        if (key == null) {
            System.err.println("There is no key of this label.");
            return 3;
        }
        System.out.write(sign(provider, key, digest));
        System.out.flush();
        return 0;
    }

    public static void main(String[] args) {
        String apiKey = System.getenv("COUNTERSIGN_API_KEY");
        if ((args.length != 1 && args.length != 3) || apiKey == null) {
            System.err.println("usage: COUNTERSIGN_API_KEY=... java SignApproved MODULE [KEY FILE > signature.bin]");
            System.exit(2);
        }
        try {
            System.exit(run(args, apiKey.toCharArray()));
        } catch (IOException | GeneralSecurityException | ProviderException e) {
            String returnValue = returnValue(e);
            if (returnValue.isEmpty()) {
                System.err.println(e);
                System.exit(e instanceof IOException ? 2 : 3);
            }
            System.err.println(sentence(returnValue) + " (" + returnValue + ")");
            System.exit(returnValue.equals("CKR_DEVICE_ERROR") ? 4 : 3);
        }
    }
}
