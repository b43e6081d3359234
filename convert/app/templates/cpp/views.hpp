// A photo of any size as the model's views, row by row: the same bytes as Python's mobileiqa.preprocess makes.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "facts.hpp"

namespace mobileiqa {
// A photo as it is stored: `read(y, rgb)` fills row y, 3 * width bytes of sRGB; rows are asked for from top to bottom,
// once each. `orientation` is EXIF's, 1 to 8. So a photo of 200 megapixels needs no more memory than one of its rows.
struct StoredPhoto {
  int width, height, orientation;
  std::function<void(int y, std::uint8_t *rgb)> read;
};

// A 4:2:0 frame of a camera: JPEG's full-range BT.601, each chroma sample for its 2x2 pixels.
struct Yuv420 {
  const std::uint8_t *y, *u, *v;
  int width, height;
  int y_row_stride, uv_row_stride, uv_pixel_stride;
};

StoredPhoto from_rgb(const std::uint8_t *rgb, int width, int height, int orientation = 1);
StoredPhoto from_yuv(const Yuv420 &frame, int rotation_degrees = 0);

// Each view's pixels, height * width * 3 bytes RGB. Throws std::invalid_argument for a photo without pixels.
std::vector<std::vector<std::uint8_t>> make_views(const StoredPhoto &photo, const std::vector<View> &views);

// Normalised planes, as a file with float inputs takes them.
std::vector<float> normalised(const std::vector<std::uint8_t> &pixels, const View &view);

// The golden image `name`, in unsigned 32-bit arithmetic.
std::vector<std::uint8_t> draw(const std::string &name, int width, int height);
}  // namespace mobileiqa
