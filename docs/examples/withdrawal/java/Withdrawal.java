/** A withdrawal as its file has it. Numbers are strings of digits, since JSON's are too short for wei. */
final class Withdrawal {
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
    String raw;
    String hash;
}
