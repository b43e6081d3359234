#include "views.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace mobileiqa {
namespace {
const int BITS = 22;  // of Pillow's fixed-point weights

// Output i is the sum over k of weights[i][k] * input[first[i] + k], in Pillow's fixed point.
struct Weights {
  std::vector<int> first;
  std::vector<std::vector<std::int32_t>> weights;
};

double kernel(const std::string &filter, double x) {
  x = std::abs(x);
  if (filter == "bilinear") return x < 1 ? 1 - x : 0;
  if (filter == "bicubic") {  // Keys' cubic with a = -1/2
    const double a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }
  const double pi = 3.14159265358979323846;
  auto sinc = [&](double v) { return v == 0 ? 1 : std::sin(v * pi) / (v * pi); };
  return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

// What Pillow makes `outputs` pixels of `inputs` with, along one axis; antialiased where it shrinks.
Weights pillow_weights(int inputs, int outputs, const std::string &filter) {
  Weights result;
  if (inputs == outputs) {
    for (int i = 0; i < outputs; ++i) result.first.push_back(i), result.weights.push_back({1 << BITS});
    return result;
  }
  const double reach = filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 3;
  const double scale = double(inputs) / outputs, stretch = std::max(scale, 1.0), support = reach * stretch;
  for (int i = 0; i < outputs; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(int(centre - support + 0.5), 0);
    const int end = std::min(int(centre + support + 0.5), inputs);
    std::vector<double> values;
    double sum = 0;
    for (int at = first; at < end; ++at) {
      values.push_back(kernel(filter, (at - centre + 0.5) * (1.0 / stretch)));
      sum += values.back();
    }
    std::vector<std::int32_t> fixed;
    for (double value : values) {
      const double share = value / sum;
      fixed.push_back(std::int32_t(share * (1 << BITS) + (share < 0 ? -0.5 : 0.5)));
    }
    result.first.push_back(first);
    result.weights.push_back(fixed);
  }
  return result;
}

// The same axis read from its other end.
Weights mirrored(Weights axis, int inputs) {
  for (std::size_t i = 0; i < axis.first.size(); ++i) {
    axis.first[i] = inputs - axis.first[i] - int(axis.weights[i].size());
    std::reverse(axis.weights[i].begin(), axis.weights[i].end());
  }
  return axis;
}

std::uint8_t clipped(std::int32_t sum) { return std::uint8_t(std::min(std::max(sum >> BITS, 0), 255)); }

// How a photo is turned: which stored axis is which, and which is read backwards.
struct Turn {
  bool swaps, flips_columns, flips_rows;
};
Turn turn_of(int orientation) {
  static const char *const COLUMNS = "2378", *const ROWS = "3467";
  const char digit = char('0' + orientation);
  const bool valid = orientation >= 1 && orientation <= 8;
  return {valid && orientation >= 5, valid && std::strchr(COLUMNS, digit), valid && std::strchr(ROWS, digit)};
}

struct Maker {
  virtual ~Maker() = default;
  virtual void row(int y, const std::uint8_t *rgb) = 0;
  std::vector<std::uint8_t> pixels;
};

// Whether Pillow (13 and later) resizes upright columns first: where the height loses more than twice what the width does.
bool vertical_first(int width, int height, const View &view) {
  return view.height < height && height - view.height > 2 * (width - view.width);
}

// Pillow resizes the upright photo in two passes, rounded to 8 bits in between. The first runs along stored rows or sums
// stored rows, depending on how the photo lies. Sums of integers have no order, so the result is the same.
struct Resized : Maker {
  Weights columns, rows;
  int width, outputs;  // of a stored row; of the axis that runs along it
  bool swaps, rows_first;
  int out_width;
  std::vector<std::vector<std::int32_t>> sums;

  Resized(const View &view, int stored_width, int stored_height, Turn turn)
      : width(stored_width), swaps(turn.swaps), out_width(view.width) {
    rows_first = swaps ? !vertical_first(stored_height, stored_width, view)
                       : vertical_first(stored_width, stored_height, view);
    outputs = swaps ? view.height : view.width;
    const int lines = swaps ? view.width : view.height;
    columns = pillow_weights(stored_width, outputs, view.filter);
    rows = pillow_weights(stored_height, lines, view.filter);
    if (turn.flips_columns) columns = mirrored(columns, stored_width);
    if (turn.flips_rows) rows = mirrored(rows, stored_height);
    sums.resize(lines);
    pixels.resize(std::size_t(3) * view.width * view.height);
  }

  std::vector<std::uint8_t> along(const std::uint8_t *rgb) const {
    std::vector<std::uint8_t> line(std::size_t(3) * outputs);
    for (int i = 0; i < outputs; ++i) {
      std::int32_t red = 1 << (BITS - 1), green = red, blue = red;
      const std::uint8_t *at = rgb + std::size_t(3) * columns.first[i];
      for (const std::int32_t weight : columns.weights[i]) {
        red += weight * at[0], green += weight * at[1], blue += weight * at[2];
        at += 3;
      }
      line[3 * i] = clipped(red), line[3 * i + 1] = clipped(green), line[3 * i + 2] = clipped(blue);
    }
    return line;
  }

  void row(int y, const std::uint8_t *rgb) override {
    const std::vector<std::uint8_t> line =
        rows_first ? std::vector<std::uint8_t>(rgb, rgb + std::size_t(3) * width) : along(rgb);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const int k = y - rows.first[i], count = int(rows.weights[i].size());
      if (k < 0 || k >= count) continue;
      if (sums[i].empty()) sums[i].assign(line.size(), 1 << (BITS - 1));
      const std::int32_t weight = rows.weights[i][k];
      for (std::size_t x = 0; x < line.size(); ++x) sums[i][x] += weight * line[x];
      if (k == count - 1) finish(int(i));
    }
  }

  void finish(int index) {
    std::vector<std::uint8_t> line(sums[index].size());
    for (std::size_t x = 0; x < line.size(); ++x) line[x] = clipped(sums[index][x]);
    std::vector<std::int32_t>().swap(sums[index]);
    if (rows_first) line = along(line.data());
    for (int i = 0; i < outputs; ++i) {
      const std::size_t to = swaps ? std::size_t(i) * out_width + index : std::size_t(index) * out_width + i;
      std::memcpy(&pixels[3 * to], &line[3 * i], 3);
    }
  }
};

// Pixels as they are: where each column and each row of the view comes from, -1 for black.
struct Picked : Maker {
  std::vector<int> columns, rows;
  bool swaps;
  int out_width;

  Picked(const View &view, int stored_width, int stored_height, Turn turn) : swaps(turn.swaps), out_width(view.width) {
    columns = axis(view, stored_width, swaps ? view.height : view.width, turn.flips_columns);
    rows = axis(view, stored_height, swaps ? view.width : view.height, turn.flips_rows);
    pixels.resize(std::size_t(3) * view.width * view.height);
  }

  static std::vector<int> axis(const View &view, int length, int outputs, bool flips) {
    std::vector<int> sources = view.fit == "fragments" ? fragments(length, outputs, view.patch) : centre(length, outputs);
    if (flips)
      for (int &source : sources) source = source < 0 ? source : length - 1 - source;
    return sources;
  }

  // Patches from the middle of each cell; a side shorter than one is mirrored.
  static std::vector<int> fragments(int length, int outputs, int patch) {
    const int padded = std::max(length, patch), count = outputs / patch;
    std::vector<int> sources;
    for (int i = 0; i < count; ++i) {
      const std::int64_t middle = std::int64_t(2 * i + 1) * padded / (2 * count) - patch / 2;
      const int start = int(std::min<std::int64_t>(std::max<std::int64_t>(middle, 0), padded - patch));
      for (int k = 0; k < patch; ++k) {
        const int at = (start + k) % (2 * length);
        sources.push_back(at < length ? at : 2 * length - 1 - at);
      }
    }
    return sources;
  }

  // A centred window; cutting rounds half to even, padding puts the odd pixel on the far side.
  static std::vector<int> centre(int length, int outputs) {
    const int over = length - outputs;
    const int start = over >= 0 ? over / 2 + (over % 2 && over / 2 % 2) : -(-over / 2);
    std::vector<int> sources;
    for (int i = 0; i < outputs; ++i) {
      const int at = start + i;
      sources.push_back(at >= 0 && at < length ? at : -1);
    }
    return sources;
  }

  void row(int y, const std::uint8_t *rgb) override {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] != y) continue;
      for (std::size_t k = 0; k < columns.size(); ++k) {
        if (columns[k] < 0) continue;
        const std::size_t to = swaps ? k * out_width + i : i * out_width + k;
        std::memcpy(&pixels[3 * to], rgb + std::size_t(3) * columns[k], 3);
      }
    }
  }
};
}  // namespace

StoredPhoto from_rgb(const std::uint8_t *rgb, int width, int height, int orientation) {
  return {width, height, orientation, [rgb, width](int y, std::uint8_t *row) {
            std::memcpy(row, rgb + std::size_t(3) * width * y, std::size_t(3) * width);
          }};
}

StoredPhoto from_yuv(const Yuv420 &frame, int rotation_degrees) {
  const int orientation = rotation_degrees == 90 ? 6 : rotation_degrees == 180 ? 3 : rotation_degrees == 270 ? 8 : 1;
  return {frame.width, frame.height, orientation, [frame](int y, std::uint8_t *row) {
            const auto byte = [](int value) { return std::uint8_t(std::min(std::max(value, 0), 255)); };
            for (int x = 0; x < frame.width; ++x) {
              const std::size_t chroma = std::size_t(y / 2) * frame.uv_row_stride + x / 2 * frame.uv_pixel_stride;
              const int luma = frame.y[std::size_t(y) * frame.y_row_stride + x] << 16;
              const int u = frame.u[chroma] - 128, v = frame.v[chroma] - 128;
              *row++ = byte((luma + 91881 * v + 32768) >> 16);
              *row++ = byte((luma - 22554 * u - 46802 * v + 32768) >> 16);
              *row++ = byte((luma + 116130 * u + 32768) >> 16);
            }
          }};
}

std::vector<std::vector<std::uint8_t>> make_views(const StoredPhoto &photo, const std::vector<View> &views) {
  if (photo.width < 1 || photo.height < 1) throw std::invalid_argument("expected a photo with pixels");
  const Turn turn = turn_of(photo.orientation);
  std::vector<std::unique_ptr<Maker>> makers;
  for (const View &view : views) {
    if (view.fit == "resize")
      makers.emplace_back(new Resized(view, photo.width, photo.height, turn));
    else
      makers.emplace_back(new Picked(view, photo.width, photo.height, turn));
  }
  std::vector<std::uint8_t> row(std::size_t(3) * photo.width);
  for (int y = 0; y < photo.height; ++y) {
    photo.read(y, row.data());
    for (auto &maker : makers) maker->row(y, row.data());
  }
  std::vector<std::vector<std::uint8_t>> result;
  for (auto &maker : makers) result.push_back(std::move(maker->pixels));
  return result;
}

std::vector<float> normalised(const std::vector<std::uint8_t> &pixels, const View &view) {
  const std::size_t area = pixels.size() / 3;
  std::vector<float> planes(pixels.size());
  for (int channel = 0; channel < 3; ++channel) {
    float table[256];
    for (int value = 0; value < 256; ++value)
      table[value] = float((value / 255.0 - view.mean[channel]) / view.std[channel]);
    for (std::size_t i = 0; i < area; ++i) planes[channel * area + i] = table[pixels[3 * i + channel]];
  }
  return planes;
}

std::vector<std::uint8_t> draw(const std::string &name, int width, int height) {
  const std::uint32_t w = width, h = height;
  const bool ramp = name == "ramp", tiles = name == "tiles";
  std::vector<std::uint8_t> rgb(std::size_t(3) * w * h);
  std::uint8_t *byte = rgb.data();
  for (std::uint32_t y = 0; y < h; ++y)
    for (std::uint32_t x = 0; x < w; ++x)
      for (std::uint32_t c = 0; c < 3; ++c) {
        std::uint32_t value;
        if (ramp) {
          const std::uint32_t across = x * 255 / std::max(w - 1, 1u), down = y * 255 / std::max(h - 1, 1u);
          value = c == 0 ? across : c == 1 ? down : (across + down) / 2;
        } else if (tiles) {
          value = (x / 16 * 73 + y / 16 * 151 + c * 37) & 255;
        } else {  // noise
          const std::uint32_t mixed = ((y * w + x) * 3 + c) * 2654435769u;
          value = ((mixed ^ mixed >> 15) * 2246822519u) >> 24;
        }
        *byte++ = std::uint8_t(value);
      }
  return rgb;
}
}  // namespace mobileiqa
