import android.graphics.Bitmap;
import bridge.Bridge;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** MODEL PHOTO WIDTH HEIGHT COMMAND...: what the Java snippet says of itself, of a photo, and of one of another size. */
public final class Main {
    public static void main(String[] words) throws Exception {
        Bridge.start(Arrays.copyOfRange(words, 4, words.length));
        byte[] file = Files.readAllBytes(Path.of(words[0]));
        byte[] rgb = Files.readAllBytes(Path.of(words[1]));
        int width = Integer.parseInt(words[2]);
        int height = Integer.parseInt(words[3]);
        ByteBuffer direct = ByteBuffer.allocateDirect(file.length).put(file);
        try (CameraScorer scorer = new CameraScorer(direct, 1)) {
            List<String> wrong = scorer.selfTest();
            System.out.println("wrong " + wrong.size() + wrong);
            System.out.println("score " + scorer.score(new Bitmap(rgb, width, height)));
            try {
                scorer.score(new Bitmap(rgb, width, height - 1));
            } catch (IllegalArgumentException error) {
                System.out.println("refused " + error.getMessage());
            }
        }
        System.exit(0);
    }
}
