/** A withdrawal as its file has it. Numbers are strings of digits, since JSON's are too short for wei. */
final class Withdrawal implements Cloneable {
    String id;
    /** open, signed, sent; denied, cancelled. */
    String state;
    String from;
    String to;
    String amount_wei;
    String chain_id;
    String nonce;
    String max_priority_fee_per_gas;
    String max_fee_per_gas;
    String intent;
    String raw;
    String hash;

    /** A copy in this state. */
    Withdrawal as(String state) {
        try {
            var copy = (Withdrawal) clone();
            copy.state = state;
            return copy;
        } catch (CloneNotSupportedException e) {
            throw new AssertionError(e);
        }
    }
}
