/** What is answered instead: the status, a word for programs, a sentence for the user. */
@SuppressWarnings("serial")
final class Refused extends Exception {
    final int status;
    final String word;

    Refused(int status, String word, String sentence) {
        super(sentence);
        this.status = status;
        this.word = word;
    }
}
