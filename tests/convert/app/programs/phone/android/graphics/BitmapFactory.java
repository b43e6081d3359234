package android.graphics;

import java.awt.Rectangle;
import java.awt.image.BufferedImage;
import java.awt.image.WritableRaster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReadParam;
import javax.imageio.ImageReader;
import javax.imageio.ImageTypeSpecifier;
import javax.imageio.stream.ImageInputStream;

/** By the JVM's decoders. Where no colour space is asked for, numbers stay as they are stored, as in Android 7. */
public class BitmapFactory {
    public static class Options {
        public boolean inJustDecodeBounds;
        public Bitmap.Config inPreferredConfig;
        public ColorSpace inPreferredColorSpace;
        public int outWidth;
        public int outHeight;
        public String outMimeType;
    }
    public static Bitmap decodeByteArray(byte[] data, int offset, int length, Options options) {
        try {
            return read(data, null, options);
        } catch (IOException error) {
            return null;
        }
    }
    static Bitmap read(byte[] data, Rect rect, Options options) throws IOException {
        ImageInputStream stream = ImageIO.createImageInputStream(new ByteArrayInputStream(data));
        Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
        if (!readers.hasNext()) {
            return null;
        }
        ImageReader reader = readers.next();
        reader.setInput(stream, true, true);
        options.outWidth = reader.getWidth(0);
        options.outHeight = reader.getHeight(0);
        options.outMimeType = "image/" + reader.getFormatName().toLowerCase();
        if (options.inJustDecodeBounds) {
            return null;
        }
        ImageReadParam param = reader.getDefaultReadParam();
        if (rect != null) {
            param.setSourceRegion(new Rectangle(rect.left, rect.top, rect.right - rect.left, rect.bottom - rect.top));
        }
        boolean stored = options.inPreferredColorSpace == null || Phone.mistake.equals("p3");
        Iterator<ImageTypeSpecifier> types = reader.getImageTypes(0);
        while (stored && types.hasNext()) {
            ImageTypeSpecifier type = types.next();
            java.awt.color.ColorSpace space = type.getColorModel().getColorSpace();
            if (space.getNumComponents() == 3 && !space.isCS_sRGB()) {
                param.setDestinationType(type);
            }
        }
        BufferedImage image = reader.read(0, param);
        return new Bitmap(stored ? asStored(image) : image, Bitmap.Config.ARGB_8888);
    }
    private static BufferedImage asStored(BufferedImage image) {
        BufferedImage plain = new BufferedImage(image.getWidth(), image.getHeight(), BufferedImage.TYPE_INT_RGB);
        WritableRaster from = image.getRaster();
        int[] pixel = new int[4];
        for (int y = 0; y < image.getHeight(); y++) {
            for (int x = 0; x < image.getWidth(); x++) {
                from.getPixel(x, y, pixel);
                plain.setRGB(x, y, pixel[0] << 16 | pixel[1] << 8 | pixel[2]);
            }
        }
        return plain;
    }
}
