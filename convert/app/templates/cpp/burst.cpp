#include "burst.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace mobileiqa {
namespace {
const int COARSE_PX = 400;  // the longer side at which shifts are looked for first
const int FINE_PX = 256;    // side of the windows in which they are found to the pixel
const int WINDOW_PX = 32;   // of detail
const double PLACES[] = {0.3, 0.5, 0.7};  // of the fine windows, along each side
const double SAME_SCENE = 0.7;            // correlation of reduced brightness, aligned
const double FLATTEST = 0.05;             // of the windows: what varies there is noise
const double UNSEEN = 4;                  // variance, in grey levels squared, that nobody sees
const double CLIPPED = 250, SHADOW = 16;  // grey levels from which on, and below which, noise is cut off
const double SCORE_BITS = 2;              // what the whole range of the model's score weighs beside detail
const double STOP_BITS = 2;               // what a stop from the median weighs
const double DISPLAY = 2.2;               // brightness is about the power of this of a grey level
const double PI = 3.14159265358979323846;

using Values = std::vector<double>;

struct Shift {
  int right, down;
};

struct Box {
  int left, top, width, height;
};

// Brightness of an upright photo, as Pillow's mode L has it.
struct Grey {
  std::size_t index;
  int width, height;
  std::vector<std::uint8_t> pixels;

  Grey cut(const Box &box) const {
    Grey part{index, box.width, box.height, {}};
    part.pixels.reserve(std::size_t(box.width) * box.height);
    for (int y = 0; y < box.height; ++y) {
      const auto from = pixels.begin() + std::ptrdiff_t(box.top + y) * width + box.left;
      part.pixels.insert(part.pixels.end(), from, from + box.width);
    }
    return part;
  }
};

struct Image {
  int width, height;
  Values values;
};

bool swaps(const StoredPhoto &photo) { return photo.orientation >= 5 && photo.orientation <= 8; }
bool in(int orientation, std::initializer_list<int> set) {
  return std::find(set.begin(), set.end(), orientation) != set.end();
}
bool flips_columns(const StoredPhoto &photo) { return in(photo.orientation, {2, 3, 7, 8}); }
bool flips_rows(const StoredPhoto &photo) { return in(photo.orientation, {3, 4, 6, 7}); }

Grey grey_of(std::size_t index, const StoredPhoto &photo) {
  if (photo.width < 1 || photo.height < 1) throw std::invalid_argument("expected a photo with pixels");
  const bool turned = swaps(photo), columns = flips_columns(photo), rows = flips_rows(photo);
  Grey grey{index, turned ? photo.height : photo.width, turned ? photo.width : photo.height, {}};
  grey.pixels.resize(std::size_t(photo.width) * photo.height);
  std::vector<std::uint8_t> row(std::size_t(3) * photo.width);
  for (int y = 0; y < photo.height; ++y) {
    photo.read(y, row.data());
    const int line = rows ? photo.height - 1 - y : y;
    for (int x = 0; x < photo.width; ++x) {
      const int column = columns ? photo.width - 1 - x : x;
      const int sum = 19595 * row[3 * x] + 38470 * row[3 * x + 1] + 7471 * row[3 * x + 2] + 0x8000;
      grey.pixels[std::size_t(turned ? column : line) * grey.width + (turned ? line : column)] = std::uint8_t(sum >> 16);
    }
  }
  return grey;
}

// The part `box` of the upright photo, as it is stored.
StoredPhoto part_of(const StoredPhoto &photo, const Box &box) {
  const bool turned = swaps(photo);
  const int width = turned ? box.height : box.width, height = turned ? box.width : box.height;
  const int x = turned ? box.top : box.left, y = turned ? box.left : box.top;
  const int left = flips_columns(photo) ? photo.width - x - width : x;
  const int top = flips_rows(photo) ? photo.height - y - height : y;
  const auto row = std::make_shared<std::vector<std::uint8_t>>(std::size_t(3) * photo.width);
  const auto next = std::make_shared<int>(0);
  return {width, height, photo.orientation, [=](int line, std::uint8_t *rgb) {
            while (*next <= top + line) photo.read((*next)++, row->data());  // every row, once each
            std::copy_n(row->data() + std::size_t(3) * left, std::size_t(3) * width, rgb);
          }};
}

Box common_part(const std::vector<Shift> &shifts, int width, int height) {
  int left = 0, right = 0, top = 0, bottom = 0;
  for (const Shift &shift : shifts) {
    left = std::min(left, shift.right), right = std::max(right, shift.right);
    top = std::min(top, shift.down), bottom = std::max(bottom, shift.down);
  }
  return {-left, -top, width - right + left, height - bottom + top};
}

// Fourier transform of lines of any length, by its prime factors, in place.
class Fourier {
 public:
  Fourier(Values &re, Values &im, int length) : re_(re), im_(im), length_(length), out_re_(length), out_im_(length) {
    for (int i = 0; i < length; ++i) {
      cos_.push_back(std::cos(-2 * PI * i / length));
      sin_.push_back(std::sin(-2 * PI * i / length));
    }
  }

  void line(int from, int step) {
    part(from, step, length_, 0);
    for (int i = 0; i < length_; ++i) re_[from + step * i] = out_re_[i], im_[from + step * i] = out_im_[i];
  }

 private:
  void part(int from, int step, int n, int at) {
    if (n == 1) {
      out_re_[at] = re_[from], out_im_[at] = im_[from];
      return;
    }
    int p = 2;
    while (n % p) ++p;
    const int m = n / p, stride = length_ / n;
    for (int r = 0; r < p; ++r) part(from + r * step, step * p, m, at + r * m);
    Values a(p), b(p);
    for (int k = 0; k < m; ++k) {
      for (int r = 0; r < p; ++r) a[r] = out_re_[at + r * m + k], b[r] = out_im_[at + r * m + k];
      for (int q = 0; q < p; ++q) {
        double x = 0, y = 0;
        for (int r = 0, i = 0; r < p; ++r, i = (i + (k + q * m) * stride) % length_) {
          x += a[r] * cos_[i] - b[r] * sin_[i];
          y += a[r] * sin_[i] + b[r] * cos_[i];
        }
        out_re_[at + q * m + k] = x, out_im_[at + q * m + k] = y;
      }
    }
  }

  Values &re_, &im_;
  int length_;
  Values out_re_, out_im_, cos_, sin_;
};

void transform(Values &re, Values &im, int width, int height) {
  Fourier rows(re, im, width), columns(re, im, height);
  for (int y = 0; y < height; ++y) rows.line(y * width, 1);
  for (int x = 0; x < width; ++x) columns.line(x, width);
}

Values windowed(const Image &image) {
  const auto hann = [](int i, int n) { return n == 1 ? 1 : 0.5 - 0.5 * std::cos(2 * PI * i / (n - 1)); };
  Values result = image.values;
  double mean = 0;
  for (double value : result) mean += value / double(result.size());
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      double &value = result[y * image.width + x];
      value = (value - mean) * hann(x, image.width) * hann(y, image.height);
    }
  return result;
}

// By how much the content of the second lies off that of the first: phase correlation, both transformed as one image.
Shift shift_between(const Image &first, const Image &second) {
  const int width = first.width, height = first.height;
  Values re = windowed(first), im = windowed(second), real(re.size()), imaginary(re.size());
  transform(re, im, width, height);
  double total = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int i = y * width + x, j = (height - y) % height * width + (width - x) % width;
      const double a = (re[i] + re[j]) / 2, b = (im[i] - im[j]) / 2, c = (im[i] + im[j]) / 2, d = (re[j] - re[i]) / 2;
      real[i] = a * c + b * d, imaginary[i] = a * d - b * c;
      if (x <= width / 2) total += std::hypot(real[i], imaginary[i]);
    }
  const double floor = 1e-3 * total / (double(height) * (width / 2 + 1)) + 1e-12;
  for (std::size_t i = 0; i < real.size(); ++i) {
    const double size = std::hypot(real[i], imaginary[i]) + floor;
    real[i] /= size, imaginary[i] /= size;
  }
  transform(imaginary, real, width, height);  // parts exchanged: the inverse
  const int peak = int(std::max_element(real.begin(), real.end()) - real.begin());
  const auto centred = [](int value, int length) { return (value + length / 2) % length - length / 2; };
  return {centred(peak % width, width), centred(peak / width, height)};
}

// Means of squares of `side` pixels.
Image reduced(const Grey &grey, int side) {
  Image image{grey.width / side, grey.height / side, {}};
  image.values.resize(std::size_t(image.width) * image.height);
  for (int y = 0; y < image.height * side; ++y)
    for (int x = 0; x < image.width * side; ++x)
      image.values[y / side * image.width + x / side] +=
          grey.pixels[std::size_t(y) * grey.width + x] / double(side * side);
  return image;
}

// Of what both show; 0 where that is less than a quarter.
double correlated(const Image &first, const Image &second, const Shift &shift) {
  const Box box = common_part({shift}, first.width, first.height);
  if (box.width <= 0 || box.height <= 0 || 4.0 * box.width * box.height < double(first.width) * first.height) return 0;
  double a = 0, b = 0, ab = 0, aa = 0, bb = 0;
  const double count = double(box.width) * box.height;
  const auto each = [&](const std::function<void(double, double)> &take) {
    for (int y = box.top; y < box.top + box.height; ++y)
      for (int x = box.left; x < box.left + box.width; ++x)
        take(first.values[y * first.width + x], second.values[(y + shift.down) * second.width + x + shift.right]);
  };
  each([&](double one, double other) { a += one / count, b += other / count; });
  each([&](double one, double other) {
    ab += (one - a) * (other - b), aa += (one - a) * (one - a), bb += (other - b) * (other - b);
  });
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

Shift fine_shift(const Grey &first, const Grey &second, const Shift &start, double across, double down) {
  const int left = int(across * (first.width - FINE_PX)), top = int(down * (first.height - FINE_PX));
  const int x = std::min(std::max(left + start.right, 0), first.width - FINE_PX);
  const int y = std::min(std::max(top + start.down, 0), first.height - FINE_PX);
  const Shift shift = shift_between(reduced(first.cut({left, top, FINE_PX, FINE_PX}), 1),
                                    reduced(second.cut({x, y, FINE_PX, FINE_PX}), 1));
  return {shift.right + x - left, shift.down + y - top};
}

// Whether both show one scene, and the shift of the second to the pixel.
bool align(const Grey &first, const Grey &second, Shift &shift) {
  const int side = std::max(1, std::max(first.width, first.height) / COARSE_PX);
  const Image small = reduced(first, side), other = reduced(second, side);
  const Shift coarse = shift_between(small, other);
  if (!(correlated(small, other, coarse) >= SAME_SCENE)) return false;
  shift = {coarse.right * side, coarse.down * side};
  if (std::min(first.width, first.height) <= FINE_PX || side == 1) return true;
  std::vector<int> rights, downs;
  for (double across : PLACES)
    for (double down : PLACES) {
      const Shift fine = fine_shift(first, second, shift, across, down);
      rights.push_back(fine.right), downs.push_back(fine.down);
    }
  std::sort(rights.begin(), rights.end()), std::sort(downs.begin(), downs.end());
  shift = {rights[4], downs[4]};
  return true;
}

struct Placed {
  Grey grey;
  Shift shift;
};

// Those of the commonest size, the widest of several.
std::vector<Grey> of_one_size(std::vector<Grey> greys, std::map<std::size_t, std::string> &left_out) {
  std::map<std::pair<int, int>, int> counts;
  for (const Grey &grey : greys) ++counts[{grey.width, grey.height}];
  std::pair<int, int> size;
  int most = 0;
  for (const auto &each : counts)
    if (each.second >= most) most = each.second, size = each.first;  // in order of width, then height
  std::vector<Grey> same;
  for (Grey &grey : greys) {
    if (std::make_pair(grey.width, grey.height) == size)
      same.push_back(std::move(grey));
    else
      left_out[grey.index] = "of another size (" + std::to_string(grey.width) + "x" + std::to_string(grey.height) + ")";
  }
  return same;
}

// With shifts against the first photo that at least half of the others match; without those that do not match it.
std::vector<Placed> one_scene(const std::vector<Grey> &greys, std::map<std::size_t, std::string> &left_out) {
  std::vector<Placed> best;
  for (const Grey &first : greys) {
    std::vector<Placed> burst;
    for (const Grey &grey : greys) {
      Shift shift{0, 0};
      if (&grey == &first || align(first, grey, shift)) burst.push_back({grey, shift});
    }
    if (burst.size() > best.size()) best = std::move(burst);
    if (2 * best.size() >= greys.size()) break;
  }
  for (const Grey &grey : greys)
    if (std::none_of(best.begin(), best.end(), [&](const Placed &each) { return each.grey.index == grey.index; }))
      left_out[grey.index] = "of another scene";
  return best;
}

double percentile(Values values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * double(values.size() - 1);
  const std::size_t low = std::size_t(place), high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - double(low)) * (values[high] - values[low]);
}

// Of each window: the mean square of the Laplacian, and the mean grey level.
struct Windows {
  Values energies, means;

  explicit Windows(const Grey &part) {
    const int columns = part.width / WINDOW_PX, rows = part.height / WINDOW_PX, w = part.width;
    const double area = WINDOW_PX * WINDOW_PX;
    energies.resize(std::size_t(columns) * rows), means.resize(energies.size());
    for (int y = 0; y < rows * WINDOW_PX; ++y)
      for (int x = 0; x < columns * WINDOW_PX; ++x) {
        const std::uint8_t *at = &part.pixels[std::size_t(y) * w + x];
        const int window = y / WINDOW_PX * columns + x / WINDOW_PX;
        means[window] += *at / area;
        if (x == 0 || y == 0 || x == w - 1 || y == part.height - 1) continue;
        const double edge = 4 * at[0] - at[-w] - at[w] - at[-1] - at[1];
        energies[window] += edge * edge / area;
      }
  }
};

// Detail and noise of aligned parts of one shape.
void measure_detail(const std::vector<Grey> &parts, std::vector<Ranked> &rows) {
  const std::vector<Windows> all(parts.begin(), parts.end());
  std::vector<std::size_t> usable, every;
  for (std::size_t i = 0; i < all[0].means.size(); ++i) {
    every.push_back(i);
    if (std::all_of(all.begin(), all.end(), [&](const Windows &w) { return w.means[i] > SHADOW && w.means[i] < CLIPPED; }))
      usable.push_back(i);
  }
  if (usable.size() < 20) usable = every;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Values values;
    for (std::size_t window : usable) values.push_back(all[i].energies[window]);
    const double noise = percentile(values, FLATTEST);
    for (double energy : all[i].energies)
      rows[i].detail += std::log2(1 + std::max(energy - noise, 0.0) / (noise + UNSEEN)) / double(every.size());
    rows[i].noise = std::sqrt(noise / 20);  // 20: the filter's own gain of white noise
  }
}

void measure_stops(const std::vector<Grey> &parts, std::vector<Ranked> &rows) {
  Values stops;
  for (const Grey &part : parts) {
    double sum = 0;
    for (std::uint8_t pixel : part.pixels) sum += pixel;
    stops.push_back(DISPLAY * std::log2(std::max(sum / double(part.pixels.size()), 1.0)));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].stops = stops[i] - percentile(stops, 0.5);
}

double away(const Ranked &row) { return STOP_BITS * std::abs(row.stops); }

// What the photo lacks most.
std::string why(const Ranked &row, const Ranked &best, double range) {
  const std::pair<std::string, double> lacks[] = {
      {row.noise > 1.2 * best.noise + 0.2 ? "noisier" : "softer", best.detail - row.detail},
      {row.stops > best.stops ? "brighter" : "darker", away(row) - away(best)},
      {"lower score", SCORE_BITS * (best.score - row.score) / range}};
  return std::max_element(std::begin(lacks), std::end(lacks),
                          [](const auto &a, const auto &b) { return a.second < b.second; })->first;
}

void judge(std::vector<Ranked> &rows, double range) {
  const auto worth = [&](const Ranked &row) { return row.detail + SCORE_BITS * row.score / range - away(row); };
  double total = 0;
  for (const Ranked &row : rows) total += worth(row);
  for (Ranked &row : rows) row.margin = worth(row) - (total - worth(row)) / double(rows.size() - 1);
  std::stable_sort(rows.begin(), rows.end(), [](const Ranked &a, const Ranked &b) { return a.margin > b.margin; });
  for (std::size_t i = 1; i < rows.size(); ++i) rows[i].why = why(rows[i], rows[0], range);
}
}  // namespace

Burst rank_burst(const std::vector<StoredPhoto> &photos, double range,
                 const std::function<double(const StoredPhoto &)> &score) {
  Burst burst;
  std::vector<Grey> greys, parts;
  for (std::size_t i = 0; i < photos.size(); ++i) greys.push_back(grey_of(i, photos[i]));
  const std::vector<Placed> scene = one_scene(of_one_size(std::move(greys), burst.left_out), burst.left_out);
  std::vector<Shift> shifts;
  for (const Placed &each : scene) shifts.push_back(each.shift);
  const Box box = scene.empty() ? Box{} : common_part(shifts, scene[0].grey.width, scene[0].grey.height);
  if (scene.size() < 2 || std::min(box.width, box.height) < 3 * WINDOW_PX)
    throw std::invalid_argument("expected two or more photos of one scene; found " + std::to_string(scene.size()));
  for (const Placed &each : scene) {
    const Box own{box.left + each.shift.right, box.top + each.shift.down, box.width, box.height};
    parts.push_back(each.grey.cut(own));
    const double scored = score(part_of(photos[each.grey.index], own));
    burst.ranked.push_back({each.grey.index, 0, each.shift.right, each.shift.down, 0, 0, 0, scored, ""});
  }
  measure_detail(parts, burst.ranked);
  measure_stops(parts, burst.ranked);
  judge(burst.ranked, range);
  return burst;
}
}  // namespace mobileiqa
