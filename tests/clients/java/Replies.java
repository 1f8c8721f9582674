import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/** What both Java programs share: where the store is, what they write, how a step is printed. */
final class Replies {
    static final int ROUNDS = 10;
    static final int STEADY_READS = 40;
    static final String BINARY = filled(256, 1, 256);
    static final String LARGE = filled(1 << 20, 31, 251);
    static final String TAG = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}";
    static final String TYPED =
            "redis.setresp(3); return {redis.call('HGETALL', KEYS[1]), {double=1.5}, true}";
    static final String SET = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])";
    static final String UNDECLARED = "return redis.call('SET', 'hot:string', ARGV[1])";

    static final String HOST = System.getenv("STORE_HOST");
    static final int PORT = Integer.parseInt(System.getenv("STORE_PORT"));
    static final boolean IS_RESP3 = "3".equals(System.getenv("STORE_PROTOCOL"));
    static final String CA = System.getenv("STORE_CA");
    static final String USER = System.getenv("STORE_USER");
    static final String PASSWORD = System.getenv("STORE_PASSWORD");

    private static final int SHOWN_WHOLE_BYTES = 300;
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    private Replies() {}

    private static String filled(int size, int factor, int modulus) {
        byte[] bytes = new byte[size];
        for (int index = 0; index < size; index++) {
            bytes[index] = (byte) ((long) index * factor % modulus);
        }
        return text(bytes);
    }

    /** One character a byte. */
    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.ISO_8859_1);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    static Object failed(Supplier<?> call) {
        try {
            return call.get();
        } catch (RuntimeException error) {
            return error;
        }
    }

    static List<String> sorted(Collection<String> values) {
        return values.stream().sorted().collect(Collectors.toList());
    }

    static List<Object> list(Object... values) {
        return new ArrayList<>(Arrays.asList(values));
    }

    static void step(String name, Object... replies) {
        OUT.println("{\"step\": " + quoted(name) + ", \"reply\": " + shown(Arrays.asList(replies)) + "}");
    }

    static void finish() {
        OUT.flush();
    }

    private static String shown(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) {
            return Objects.toString(value);
        }
        if (value instanceof byte[] bytes) {
            return shown(text(bytes));
        }
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream().map(Replies::shown).sorted()
                    .collect(Collectors.joining(", ", "[", "]"));
        }
        if (value instanceof Map.Entry<?, ?> entry) {
            return "[" + shown(entry.getKey()) + ", " + shown(entry.getValue()) + "]";
        }
        if (value instanceof Collection<?> values) {
            var parts = values.stream().map(Replies::shown);
            return (value instanceof Set ? parts.sorted() : parts)
                    .collect(Collectors.joining(", ", "[", "]"));
        }
        if (value instanceof Throwable error) {
            return quoted(error.getClass().getSimpleName() + ": " + error.getMessage());
        }
        return quoted(value.toString());
    }

    private static String quoted(String text) {
        String whole = text;
        if (text.length() > SHOWN_WHOLE_BYTES) {
            whole = text.length() + " bytes " + HexFormat.of().toHexDigits(text.hashCode());
        }
        StringBuilder found = new StringBuilder("\"");
        for (char each : whole.toCharArray()) {
            boolean isPlain = each >= ' ' && each <= '~' && each != '"' && each != '\\';
            found.append(isPlain ? String.valueOf(each) : String.format("\\u%04x", (int) each));
        }
        return found.append('"').toString();
    }
}
