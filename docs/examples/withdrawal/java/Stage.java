import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.concurrent.TimeUnit;

/** Gives transactions of one key to the HSM for the user to approve on his device, through the command line. */
final class Stage {
    private static final int TIMEOUT_SECS = 20;
    private static final Gson GSON = new Gson();

    /** What the command line says, in JSON: the one or the other. */
    private static final class Said {
        String intent;
        String refused;
    }

    private final String cli;
    private final String label;

    Stage(String cli, String label) {
        this.cli = cli;
        this.label = label;
    }

    /** The intent's id. */
    String run(byte[] transaction) throws Refused, IOException {
        Process process = new ProcessBuilder(cli, "intent", "stage", "--json", "--key", label, "--ethereum", "-")
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        try (var in = process.getOutputStream()) {
            in.write(HexFormat.of().formatHex(transaction).getBytes(StandardCharsets.US_ASCII));
        } catch (IOException e) {
            // It ended before it read this; its exit status says why.
        }
        if (!ends(process)) {
            process.destroyForcibly();
            throw notStaged();
        }
        Said said = said(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
        int status = process.exitValue();
        if (status == 0 && said.intent != null) {
            return said.intent;
        }
        System.err.println("staging: " + said.refused + " (exit status " + status + ")");
        // 3: refused. 4: the HSM does not serve.
        throw status == 3 ? refused(said.refused) : status == 4 ? notStaged() : internal();
    }

    /** Its answer is one line, for which a pipe has room: it ends without being read. */
    private static boolean ends(Process process) {
        try {
            return process.waitFor(TIMEOUT_SECS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            return false;
        }
    }

    private static Said said(String output) {
        try {
            Said said = GSON.fromJson(output, Said.class);
            return said == null ? new Said() : said;
        } catch (JsonParseException e) {
            return new Said();
        }
    }

    /** What is answered for a word of the command line's. All others are ours to mend. */
    private static Refused refused(String word) {
        return switch (word == null ? "" : word) {
            case "policy-refused", "limit-exceeded" -> Signer.denied();
            case "account-frozen", "locked", "account-over-budget", "tenant-over-budget", "try-later" -> Signer.locked();
            case "too-many-intents" -> new Refused(429, "too-many",
                    "Too much waits on the user's device. Let him approve or decline some of it, then stage this again.");
            case "no-device" -> new Refused(409, "no-device",
                    "The user has no device that could approve. Ask him for a code.");
            case "busy" -> notStaged();
            default -> internal();
        };
    }

    private static Refused notStaged() {
        return new Refused(503, "hsm", "It could not be staged. The withdrawal is kept; try again.");
    }

    private static Refused internal() {
        return new Refused(500, "internal", "This is ours to mend.");
    }
}
