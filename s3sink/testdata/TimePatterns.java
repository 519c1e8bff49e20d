import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/** Prints what Java makes of patterns: pattern, zone, seconds and nanoseconds since 1970, text; tabs between. */
class TimePatterns {
    static final String[] PATTERNS = {
        "yyyy/MM/dd/HH", "uuuu-MM-dd", "yyyy-MM-dd-HH-mm-ss", "yyyy", "u", "uu", "uuu", "uuuu", "uuuuuu", "y", "yy", "yyy",
        "Y", "YY", "YYY", "YYYY-'W'ww-e", "YYYYYY", "w", "ww", "W", "M", "MM", "MMM", "MMMM", "MMMMM", "L", "LL", "LLL", "LLLL", "LLLLL",
        "Q", "QQ", "QQQ", "QQQQ", "QQQQQ", "q", "qq", "qqq", "qqqq", "qqqqq", "d", "dd", "D", "DD", "DDD",
        "E", "EE", "EEE", "EEEE", "EEEEE", "e", "ee", "eee", "eeee", "eeeee", "c", "ccc", "cccc", "ccccc",
        "a", "H", "HH", "k", "kk", "K", "KK", "h", "hh a", "m", "mm", "s", "ss", "S", "SSS", "SSSSSS", "SSSSSSSSS",
        "VV", "x", "xx", "xxx", "xxxx", "xxxxx", "X", "XX", "XXX", "XXXX", "XXXXX", "Z", "ZZ", "ZZZ", "ZZZZZ",
        "'year='yyyy'/month='MM'/day='dd'/hour='HH", "yyyy'-'MM'-'dd", "''yyyy''", "'it''s' yyyy", "yyyy_MM.dd:HH=mm;ss ~!@$%^&*()+|<>?,/\\\"`-",
    };
    static final String[] TIMES = {
        "2018-08-27T10:30:00Z", "2018-12-30T00:00:00Z", "2018-12-31T23:59:59.999999Z", "2019-01-01T00:00:00Z", "2022-01-01T12:00:00.000001Z",
        "2022-01-02T11:59:59Z", "2024-02-29T12:34:56.123456Z", "2024-12-31T00:30:00Z", "2026-03-29T01:00:00Z", "2026-06-30T13:05:09.1Z",
        "1969-12-31T23:59:59.5Z", "1850-01-01T00:00:00Z", "0000-03-01T00:00:00Z", "-0043-03-15T12:00:00Z", "+10000-01-01T00:00:00Z", "+292277-01-09T04:00:54Z",
    };
    static final String[] ZONES = {"UTC", "Asia/Tokyo", "America/New_York", "Asia/Kathmandu"};

    public static void main(String[] args) {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String p : PATTERNS) {
            DateTimeFormatter f = DateTimeFormatter.ofPattern(p, Locale.US);
            for (int i = 0; i < TIMES.length; i++) {
                Instant t = Instant.parse(TIMES[i]);
                for (String z : i % 5 == 1 && "xXZVYwWH".indexOf(p.charAt(0)) >= 0 ? ZONES : new String[] {ZONES[i % ZONES.length]}) {
                    out.print(p + "\t" + z + "\t" + t.getEpochSecond() + "\t" + t.getNano() + "\t" + f.format(t.atZone(ZoneId.of(z))) + "\n");
                }
            }
        }
        out.flush();
    }
}
