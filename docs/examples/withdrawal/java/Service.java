import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/** A withdrawal service: the page README.md beside it says what it answers and how it is run. */
public final class Service {
    private record Answer(int status, Object body) {}

    private interface Act<T> {
        T act() throws Refused, IOException;
    }

    private static final Gson GSON = new Gson();
    private final Signer signer;
    private final Ethereum node;
    private final Stage stage;
    private final Path folder;
    private final BigInteger chainId;
    private final BigInteger maxFee;
    /** The withdrawals of one key, each a file. One is under way at a time, since two would ask for the same nonce. */
    private final Map<String, Withdrawal> all = new HashMap<>();

    private Service(Signer signer, Ethereum node, Stage stage, Path folder, BigInteger chainId, BigInteger maxFee)
            throws IOException {
        this.signer = signer;
        this.node = node;
        this.stage = stage;
        this.folder = folder;
        this.chainId = chainId;
        this.maxFee = maxFee;
        var forUsAlone = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
        Files.createDirectories(folder, forUsAlone);
        syncFolder(folder.toAbsolutePath().getParent());
        try (var files = Files.newDirectoryStream(folder, "*.json")) {
            for (Path file : files) {
                Withdrawal w = GSON.fromJson(Files.readString(file), Withdrawal.class);
                all.put(w.id, w);
            }
        }
    }

    /** A new name in a folder outlives a power cut only when the folder is synced, too. */
    private static void syncFolder(Path folder) throws IOException {
        try (var opened = FileChannel.open(folder, StandardOpenOption.READ)) {
            opened.force(true);
        }
    }

    /** Takes a changed copy. It is durable before anybody is told and before anything here goes by it. */
    private Withdrawal save(Withdrawal w) throws IOException {
        Path file = folder.resolve(w.id + ".json");
        Path temporary = folder.resolve(w.id + ".new");
        try (var out = FileChannel.open(temporary, StandardOpenOption.CREATE, StandardOpenOption.WRITE,
                StandardOpenOption.TRUNCATE_EXISTING)) {
            var data = ByteBuffer.wrap(GSON.toJson(w).getBytes(StandardCharsets.UTF_8));
            while (data.hasRemaining()) {
                out.write(data);
            }
            out.force(true);
        }
        Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE);
        syncFolder(folder);
        all.put(w.id, w);
        return w;
    }

    private static String text(JsonObject asked, String name) {
        var value = asked.get(name);
        boolean isText = value != null && value.isJsonPrimitive() && value.getAsJsonPrimitive().isString();
        return isText ? value.getAsString() : "";
    }

    private Answer request(JsonObject asked) throws Refused, IOException, Ethereum.Unreachable, Ethereum.Declined {
        var w = new Withdrawal();
        w.to = text(asked, "to");
        w.amount_wei = text(asked, "amount_wei");
        if (!w.to.matches("0x[0-9a-fA-F]{40}")) {
            throw new Refused(400, "request", "`to` is an address.");
        }
        if (!w.amount_wei.matches("[1-9][0-9]{0,77}") || new BigInteger(w.amount_wei).bitLength() > 256) {
            throw new Refused(400, "request", "`amount_wei` is a whole number of wei, as a string.");
        }
        if (all.values().stream().anyMatch(other -> List.of("open", "signed").contains(other.state))) {
            throw new Refused(409, "under-way", "Another withdrawal is under way. Finish or cancel it first.");
        }
        byte[] id = new byte[16];
        new SecureRandom().nextBytes(id);
        w.id = HexFormat.of().formatHex(id);
        w.from = signer.address();
        price(w);
        w.nonce = nextNonce(w.from).toString();
        w.state = "open";
        return new Answer(201, save(w));
    }

    /** The chain and the fees, as the node has them. A node may lie, so both have bounds. */
    private void price(Withdrawal w) throws Refused, Ethereum.Unreachable, Ethereum.Declined {
        if (!node.quantity("eth_chainId").equals(chainId)) {
            throw new Refused(502, "node", "The node serves another chain. Nothing was begun.");
        }
        BigInteger tip = node.quantity("eth_maxPriorityFeePerGas");
        var block = node.ask("eth_getBlockByNumber", "latest", false).getAsJsonObject();
        BigInteger base = Ethereum.number(block.get("baseFeePerGas"));
        BigInteger fee = base.shiftLeft(1).add(tip);
        if (tip.min(base).signum() < 0 || fee.compareTo(maxFee) > 0) {
            throw new Refused(502, "node", "The node asks for a higher fee than is allowed here. Nothing was begun.");
        }
        w.chain_id = chainId.toString();
        w.max_priority_fee_per_gas = tip.toString();
        w.max_fee_per_gas = fee.toString();
    }

    /** A node may have forgotten what was sent: with its nonce, another withdrawal would take its place. */
    private BigInteger nextNonce(String from) throws Ethereum.Unreachable, Ethereum.Declined {
        return all.values().stream()
                .filter(w -> List.of("signed", "sent").contains(w.state))
                .filter(w -> w.chain_id.equals(chainId.toString()) && w.from.equals(from))
                .map(w -> new BigInteger(w.nonce).add(BigInteger.ONE))
                .reduce(node.quantity("eth_getTransactionCount", from, "pending"), BigInteger::max);
    }

    private static void mustBeOpen(Withdrawal w) throws Refused {
        if (!w.state.equals("open")) {
            throw new Refused(409, "not-open", "This withdrawal does not wait for the user.");
        }
    }

    /** What act gives. Where policy denies it, the withdrawal is closed, durably, before anybody is told why. */
    private <T> T orDenied(Withdrawal w, Act<T> act) throws Refused, IOException {
        try {
            return act.act();
        } catch (Refused refused) {
            if (refused.word.equals("policy")) {
                save(w.as("denied"));
            }
            throw refused;
        }
    }

    private Answer stage(Withdrawal w) throws Refused, IOException {
        mustBeOpen(w);
        String intent = orDenied(w, () -> stage.run(Ethereum.unsigned(w)));
        Withdrawal staged = w.as("open");
        staged.intent = intent;
        return new Answer(200, save(staged));
    }

    private Answer giveCode(Withdrawal w, String code) throws Refused, IOException {
        if (!code.matches("[0-9]{6}|[0-9]{8}")) {
            throw Signer.notACode();
        }
        return finish(w, code);
    }

    /** Signs under the user's code, or, where that is null, what he approved on his device; and broadcasts. */
    private Answer finish(Withdrawal w, String code) throws Refused, IOException {
        mustBeOpen(w);
        byte[] raw = Ethereum.finish(w, orDenied(w, () -> signer.sign(Ethereum.unsigned(w), code)));
        Withdrawal signed = w.as("signed");
        signed.raw = Ethereum.hex(raw);
        signed.hash = Ethereum.hex(Ethereum.keccak256(raw));
        return broadcast(save(signed));
    }

    /** May be repeated: the same transaction is sent, and one that is there already is as good as sent. */
    private Answer broadcast(Withdrawal w) throws Refused, IOException {
        if (!List.of("signed", "sent").contains(w.state)) {
            throw new Refused(409, "not-signed", "This withdrawal is not signed.");
        }
        try {
            try {
                node.ask("eth_sendRawTransaction", w.raw);
            } catch (Ethereum.Declined declined) {
                if (node.ask("eth_getTransactionByHash", w.hash).isJsonNull()) {
                    throw new Refused(502, "node", "The node refused the transaction: " + declined.getMessage() + ". It is kept.");
                }
            }
        } catch (Ethereum.Unreachable | Ethereum.Declined e) {
            throw new Refused(502, "node", "The node cannot be reached. The signed transaction is kept; broadcast it again.");
        }
        return new Answer(200, save(w.as("sent")));
    }

    private Answer cancel(Withdrawal w) throws Refused, IOException {
        if (!w.state.equals("open")) {
            throw new Refused(409, "not-open", "What is signed cannot be cancelled.");
        }
        return new Answer(200, save(w.as("cancelled")));
    }

    private Answer answer(String method, String[] path, JsonObject body)
            throws Refused, IOException, Ethereum.Unreachable, Ethereum.Declined {
        boolean isOurs = path.length > 0 && path.length < 4 && path[0].equals("withdrawals");
        if (isOurs && path.length == 1 && method.equals("POST")) {
            return request(body);
        }
        Withdrawal w = isOurs && path.length > 1 ? all.get(path[1]) : null;
        if (w == null) {
            throw new Refused(404, "unknown", "There is no such withdrawal.");
        }
        return switch (path.length == 2 ? method : method + " " + path[2]) {
            case "GET" -> new Answer(200, w);
            case "DELETE" -> cancel(w);
            case "POST code" -> giveCode(w, text(body, "code"));
            case "POST broadcast" -> broadcast(w);
            case "POST stage" -> stage(w);
            case "POST approved" -> finish(w, null);
            default -> throw new Refused(404, "unknown", "There is nothing here.");
        };
    }

    private static JsonObject read(HttpExchange exchange) throws Refused, IOException {
        String text = new String(exchange.getRequestBody().readNBytes(10_000), StandardCharsets.UTF_8);
        try {
            JsonObject body = GSON.fromJson(text, JsonObject.class);
            return body == null ? new JsonObject() : body;
        } catch (JsonParseException e) {
            throw new Refused(400, "request", "The body is not JSON.");
        }
    }

    private void handle(HttpExchange exchange) throws IOException {
        Answer answer;
        try {
            String[] path = exchange.getRequestURI().getPath().substring(1).split("/");
            answer = answer(exchange.getRequestMethod(), path, read(exchange));
        } catch (Refused refused) {
            answer = new Answer(refused.status, Map.of("error", refused.word, "message", refused.getMessage()));
        } catch (Ethereum.Unreachable | Ethereum.Declined e) {
            answer = new Answer(502, Map.of("error", "node", "message", "The node did not answer. Nothing was begun."));
        } catch (IOException | RuntimeException e) {
            e.printStackTrace();
            answer = new Answer(500, Map.of("error", "internal", "message", "This is ours to mend."));
        }
        byte[] data = GSON.toJson(answer.body()).getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(answer.status(), data.length);
        exchange.getResponseBody().write(data);
        exchange.close();
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> env = System.getenv();
        var signer = new Signer(env.get("MODULE"), env.get("COUNTERSIGN_API_KEY"), env.get("KEY"));
        var node = new Ethereum(env.get("NODE_URL"));
        var maxFee = new BigInteger(env.getOrDefault("MAX_FEE_GWEI", "300")).multiply(BigInteger.TEN.pow(9));
        var stage = new Stage(env.getOrDefault("CLI", ""), env.get("KEY"));
        var chainId = new BigInteger(env.get("CHAIN_ID"));
        var service = new Service(signer, node, stage, Path.of(env.get("STORE")), chainId, maxFee);
        int port = Integer.parseInt(env.getOrDefault("PORT", "8080"));
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        // Without an executor of its own it answers one request after the other, so that nothing here needs a lock.
        server.createContext("/", service::handle);
        server.start();
        System.out.println("listening on http://127.0.0.1:" + server.getAddress().getPort());
    }
}
