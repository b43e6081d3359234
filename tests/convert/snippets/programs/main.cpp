// MODEL PHOTO WIDTH HEIGHT: what the C++ snippet says of itself, of a photo, and of one of another size.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "camera_scorer.hpp"

int main(int count, char **words) {
  if (count != 5) return 2;
  std::ifstream photo(words[2], std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(photo), {}};
  const auto *rgb = reinterpret_cast<const std::uint8_t *>(bytes.data());
  const int width = std::atoi(words[3]), height = std::atoi(words[4]);
  CameraScorer scorer(words[1]);
  const auto wrong = scorer.selfTest();
  std::printf("wrong %zu[", wrong.size());
  for (const auto &line : wrong) std::printf("%s, ", line.c_str());
  std::printf("]\nscore %.9g\n", scorer.score(rgb, width, height));
  try {
    scorer.score(rgb, width, height - 1);
  } catch (const std::runtime_error &error) {
    std::printf("refused %s\n", error.what());
  }
  try {
    CameraScorer missing("missing.tflite");
  } catch (const std::runtime_error &error) {
    std::printf("missing %s\n", error.what());
  }
}
