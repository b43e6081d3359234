// Which photo of a burst to keep: the rule of `mobileiqa best`, whose docs say why.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "views.hpp"

namespace mobileiqa {
// A photo's place in a burst. `index`: among those that were given; `margin`: how much better than the others, in bits;
// `right`, `down`: its shift in pixels; `detail` in bits, `noise` in grey levels, `stops` from the burst's median; `score`:
// of the part that all photos show; `why`: what it lacks that the best one has.
struct Ranked {
  std::size_t index;
  double margin;
  int right, down;
  double detail, noise, stops, score;
  std::string why;
};

// Photos of one scene, the best first, and why others are left out, by their place among those that were given.
struct Burst {
  std::vector<Ranked> ranked;
  std::map<std::size_t, std::string> left_out;
};

// Each photo is read twice, a byte a pixel of all is in memory. `range`: of the score, negative where less is better.
// Throws std::invalid_argument where fewer than two photos show one scene.
Burst rank_burst(const std::vector<StoredPhoto> &photos, double range,
                 const std::function<double(const StoredPhoto &)> &score);
}  // namespace mobileiqa
