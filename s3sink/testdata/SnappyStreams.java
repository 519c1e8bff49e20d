import io.airlift.compress.snappy.SnappyHadoopStreams;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.xerial.snappy.SnappyInputStream;
import org.xerial.snappy.SnappyOutputStream;

/** Writes the sample as snappy-java and as aircompressor's Hadoop streams do: SnappyStreams DIR. Or reads ours: SnappyStreams DIR read. */
class SnappyStreams {
    public static void main(String[] args) throws Exception {
        Path dir = Path.of(args[0]);
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < 2500; i++) {
            b.append("{\"n\":").append(i).append(",\"square\":").append((long) i * i).append("}\n");
        }
        byte[] sample = b.toString().getBytes(StandardCharsets.UTF_8);
        if (args.length > 1) {
            try (InputStream in = new SnappyInputStream(Files.newInputStream(dir.resolve("ours.xerial")))) {
                check(sample, in.readAllBytes());
            }
            try (InputStream in = new SnappyHadoopStreams().createInputStream(Files.newInputStream(dir.resolve("ours.hadoop")))) {
                check(sample, in.readAllBytes());
            }
            System.out.println("both are read by Java");
            return;
        }
        try (OutputStream out = new SnappyOutputStream(Files.newOutputStream(dir.resolve("snappy-java.snappy")))) {
            out.write(sample);
        }
        try (OutputStream out = new SnappyHadoopStreams().createOutputStream(Files.newOutputStream(dir.resolve("hadoop.snappy")))) {
            out.write(sample);
        }
    }

    static void check(byte[] want, byte[] got) {
        if (!java.util.Arrays.equals(want, got)) {
            throw new AssertionError("other bytes: " + got.length + ", want " + want.length);
        }
    }
}
