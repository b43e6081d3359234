import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileiqa.distortions.compression import encode_jpeg, encode_jpeg2000, jpeg, jpeg2000


@pytest.mark.parametrize("quality", [43, 36, 24, 7, 4])
def test_jpeg_is_pillows_at_that_quality(photo, rng, quality):
    image = photo(0, 128, 96)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    rgb = np.asarray(image)
    assert encode_jpeg(rgb, quality) == file.getvalue()
    assert np.array_equal(jpeg(rgb, quality, rng), np.asarray(Image.open(file)))


def test_jpeg_has_the_standards_table_and_half_resolution_colour(photo):
    data = encode_jpeg(np.asarray(photo(0, 64, 64)), 24)
    image = Image.open(io.BytesIO(data))
    scale = 5000 / 24  # Annex K's first entry is 16; libjpeg scales it by 5000 / quality below 50
    assert image.quantization[0][0] == int((16 * int(scale) + 50) / 100)
    assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("ratio", [16, 32, 45, 120, 400])
def test_jpeg2000_has_its_ratio(photo, rng, ratio):
    rgb = np.asarray(photo(0, 512, 384))
    data = encode_jpeg2000(rgb, ratio)
    assert 0.98 * ratio <= rgb.nbytes / len(data) < 1.08 * ratio
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(jpeg2000(rgb, ratio, rng).astype(int) - decoded).max() <= 1


def test_jpeg2000_uses_the_irreversible_wavelet(photo):
    data = encode_jpeg2000(np.asarray(photo(0, 64, 64)), 16)
    coding_style = data.index(b"\xff\x52")  # COD, ISO/IEC 15444-1 A.6.1
    assert data[coding_style + 13] == 0  # 9-7 irreversible; 1 is 5-3 reversible
