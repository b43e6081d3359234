package android.media;

import android.graphics.Phone;
import java.io.IOException;
import java.io.InputStream;

/** The orientation of a JPEG whose Exif is what Pillow writes: big-endian or little-endian, first directory. */
public class ExifInterface {
    public static final String TAG_ORIENTATION = "Orientation";
    private final byte[] bytes;
    public ExifInterface(InputStream stream) throws IOException {
        bytes = stream.readAllBytes();
    }
    public int getAttributeInt(String tag, int otherwise) {
        for (int at = 0; !Phone.mistake.equals("exif") && at + 14 < Math.min(bytes.length, 4096); at++) {
            if (bytes[at] == 'E' && bytes[at + 1] == 'x' && bytes[at + 2] == 'i' && bytes[at + 3] == 'f') {
                int start = at + 6;
                boolean motorola = bytes[start] == 'M';
                int directory = start + number(start + 4, 4, motorola);
                for (int i = 0; i < number(directory, 2, motorola); i++) {
                    int entry = directory + 2 + 12 * i;
                    if (number(entry, 2, motorola) == 0x112) {
                        return number(entry + 8, 2, motorola);
                    }
                }
            }
        }
        return otherwise;
    }
    private int number(int at, int count, boolean big) {
        int value = 0;
        for (int i = 0; i < count; i++) {
            value = value << 8 | bytes[big ? at + i : at + count - 1 - i] & 255;
        }
        return value;
    }
}
