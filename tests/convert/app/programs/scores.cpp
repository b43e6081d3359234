// MODEL LISTING: what the library says of the file, and what it gives for the photos of the listing, one a line:
// rgb PATH WIDTH HEIGHT ORIENTATION, or yuv PATH WIDTH HEIGHT DEGREES (planes of Y, U, V without padding); those of
// burst PATH WIDTH HEIGHT ORIENTATION are ranked in the end.
#include "scorer.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

using namespace mobileiqa;

static std::vector<std::uint8_t> bytes_of(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int, char **words) try {
  Options options;
  options.gpu = std::string(words[3]) == "gpu";
  options.weight_cache = words[4];
  options.decoder = [](const std::string &name) {  // NAME.rgb, and its size in NAME.txt
    Decoded photo{bytes_of(name + ".rgb"), 0, 0, 1};
    std::ifstream(name + ".txt") >> photo.width >> photo.height >> photo.orientation;
    return photo;
  };
  Scorer scorer(words[1], options);
  std::printf("accelerator %s: %s\n", scorer.accelerator().name.c_str(), scorer.accelerator().why.c_str());
  std::printf("wrong %zu\n", scorer.selfTest().size());
  std::ifstream listing(words[2]);
  std::string kind, path;
  int width, height, turn;
  std::vector<std::vector<std::uint8_t>> kept;
  std::vector<StoredPhoto> burst;
  while (listing >> kind >> path >> width >> height >> turn) {
    std::vector<std::uint8_t> bytes = bytes_of(path);
    if (kind == "burst") {
      kept.push_back(std::move(bytes));
      burst.push_back(from_rgb(kept.back().data(), width, height, turn));
      continue;
    }
    StoredPhoto photo = from_rgb(bytes.data(), width, height, turn);
    if (kind == "yuv") {
      const int half = (width + 1) / 2;
      const std::uint8_t *u = bytes.data() + std::size_t(width) * height, *v = u + std::size_t(half) * ((height + 1) / 2);
      photo = from_yuv({bytes.data(), u, v, width, height, width, half, 1}, turn);
    }
    const Result result = scorer.score(photo);
    std::printf("score %.9g %s %s\n", result.score, result.label.c_str(), result.reasons[0].name.c_str());
  }
  if (burst.empty()) return 0;
  const Burst best = scorer.best(burst);
  for (const Ranked &row : best.ranked)
    std::printf("best %zu %.9g %d %d %.9g %.9g %.9g %.9g %s\n", row.index, row.margin, row.right, row.down, row.detail,
                row.noise, row.stops, row.score, row.why.c_str());
  for (const auto &each : best.left_out) std::printf("aside %zu %s\n", each.first, each.second.c_str());
} catch (const std::exception &error) {
  std::printf("refused %s\n", error.what());
}
