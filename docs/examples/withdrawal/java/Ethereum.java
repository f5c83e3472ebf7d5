import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.bouncycastle.asn1.x9.X9ECParameters;
import org.bouncycastle.crypto.ec.CustomNamedCurves;
import org.bouncycastle.jcajce.provider.digest.Keccak;
import org.bouncycastle.math.ec.ECAlgorithms;
import org.bouncycastle.math.ec.ECPoint;

/** A node over JSON-RPC, and the form of transactions: EIP-1559 transfers. */
final class Ethereum {
    /** The node gave no answer: nobody knows whether it did what it was asked. */
    @SuppressWarnings("serial")
    static final class Unreachable extends Exception {}

    /** The node answered with an error. */
    @SuppressWarnings("serial")
    static final class Declined extends Exception {
        Declined(String message) {
            super(message);
        }
    }

    private static final Gson GSON = new Gson();
    private static final X9ECParameters CURVE = CustomNamedCurves.getByName("secp256k1");
    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final URI url;

    Ethereum(String url) {
        this.url = URI.create(url);
    }

    JsonElement ask(String method, Object... params) throws Unreachable, Declined {
        String body = GSON.toJson(Map.of("jsonrpc", "2.0", "id", 1, "method", method, "params", params));
        var request = HttpRequest.newBuilder(url).timeout(Duration.ofSeconds(20))
                .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
        JsonObject answer;
        try {
            String text = client.send(request, HttpResponse.BodyHandlers.ofString()).body();
            answer = GSON.fromJson(text, JsonObject.class);
        } catch (IOException | InterruptedException | JsonParseException e) {
            throw new Unreachable();
        }
        if (answer == null) {
            throw new Unreachable();
        }
        if (answer.has("error")) {
            throw new Declined(answer.getAsJsonObject("error").get("message").getAsString());
        }
        return answer.get("result");
    }

    BigInteger quantity(String method, Object... params) throws Unreachable, Declined {
        return number(ask(method, params));
    }

    static BigInteger number(JsonElement quantity) {
        return new BigInteger(quantity.getAsString().substring(2), 16);
    }

    static byte[] keccak256(byte[] data) {
        return new Keccak.Digest256().digest(data);
    }

    static String hex(byte[] data) {
        return "0x" + HexFormat.of().formatHex(data);
    }

    private static byte[] bytes(String hex) {
        return HexFormat.of().parseHex(hex.substring(2));
    }

    private static byte[] join(byte[]... parts) {
        var out = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            out.writeBytes(part);
        }
        return out.toByteArray();
    }

    /** Big-endian without leading zeros; 0 is no bytes. */
    private static byte[] shortest(BigInteger number) {
        byte[] bytes = number.toByteArray();
        return bytes[0] == 0 ? Arrays.copyOfRange(bytes, 1, bytes.length) : bytes;
    }

    private static byte[] rlp(byte[] data) {
        return data.length == 1 && data[0] >= 0 ? data : join(prefix(0x80, data.length), data);
    }

    private static byte[] rlp(List<byte[]> items) {
        byte[] content = join(items.toArray(new byte[0][]));
        return join(prefix(0xc0, content.length), content);
    }

    private static byte[] prefix(int base, int length) {
        if (length < 56) {
            return new byte[] {(byte) (base + length)};
        }
        byte[] size = shortest(BigInteger.valueOf(length));
        return join(new byte[] {(byte) (base + 55 + size.length)}, size);
    }

    /** The nine fields; a plain transfer has no data and no access list. */
    private static List<byte[]> fields(Withdrawal w) {
        var items = new ArrayList<byte[]>();
        for (String number : List.of(w.chain_id, w.nonce, w.max_priority_fee_per_gas, w.max_fee_per_gas, "21000")) {
            items.add(rlp(shortest(new BigInteger(number))));
        }
        items.addAll(List.of(rlp(bytes(w.to)), rlp(shortest(new BigInteger(w.amount_wei))), rlp(new byte[0]), rlp(List.of())));
        return items;
    }

    static byte[] unsigned(Withdrawal w) {
        return join(new byte[] {2}, rlp(fields(w)));
    }

    /** The signed transaction. r and s fit two keys: yParity is the one with which they give the key's own address back. */
    static byte[] finish(Withdrawal w, byte[] signature) {
        BigInteger r = new BigInteger(1, signature, 0, 32);
        BigInteger s = new BigInteger(1, signature, 32, 32);
        for (int parity = 0; parity < 2; parity++) {
            if (hex(signer(keccak256(unsigned(w)), r, s, parity)).equalsIgnoreCase(w.from)) {
                List<byte[]> items = fields(w);
                for (BigInteger number : List.of(BigInteger.valueOf(parity), r, s)) {
                    items.add(rlp(shortest(number)));
                }
                return join(new byte[] {2}, rlp(items));
            }
        }
        throw new IllegalStateException("the signature is not of this address over this transaction");
    }

    /** The address whose key this is a signature of (SEC 1, section 4.1.6): Q = r⁻¹(sR − eG). */
    private static byte[] signer(byte[] digest, BigInteger r, BigInteger s, int parity) {
        BigInteger n = CURVE.getN();
        ECPoint point = CURVE.getCurve().decodePoint(join(new byte[] {(byte) (2 + parity)}, padded(r)));
        BigInteger inverse = r.modInverse(n);
        BigInteger e = new BigInteger(1, digest);
        ECPoint key = ECAlgorithms.sumOfTwoMultiplies(
                CURVE.getG(), e.negate().multiply(inverse).mod(n), point, s.multiply(inverse).mod(n));
        byte[] encoded = key.normalize().getEncoded(false);
        return Arrays.copyOfRange(keccak256(Arrays.copyOfRange(encoded, 1, 65)), 12, 32);
    }

    private static byte[] padded(BigInteger number) {
        byte[] bytes = shortest(number);
        return join(new byte[32 - bytes.length], bytes);
    }
}
