"""What an audit accepts, each limit with its reason."""

FEWEST = 8  # below: min and max over so few pictures are those of the pictures, not of the model. Fails.
ADVISED = 32  # below: warned. Ranges of a MobileNetV3 settled by 64 images.
ONE_SIDED = 0.9  # share of images that are all dark, all bright or all grey, from which the set fails
CLIPPED_IMAGE = 0.25  # share of samples at 0 or 255 above which an image is listed as saturated
CLIPPED_SET = 0.5  # share of images that are saturated, from which the set fails
RARE_BIN = 0.05  # share of the candidates from which a bin that the set lacks is worth a warning
