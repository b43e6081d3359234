package bridge;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/** LiteRT for the stubs here: a Python process that scores what it is sent. */
public final class Bridge {
    private static Process process;
    private static BufferedReader answers;

    private Bridge() {}

    /** Starts the process. */
    public static void start(String... command) throws IOException {
        process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        answers = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    }

    /** The score of `rgb` by the signature `key`. */
    public static synchronized float run(String key, byte[] rgb) {
        try {
            OutputStream out = process.getOutputStream();
            out.write((key + " " + rgb.length + "\n").getBytes(StandardCharsets.UTF_8));
            out.write(rgb);
            out.flush();
            return Float.parseFloat(answers.readLine());
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
