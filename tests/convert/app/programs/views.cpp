// CASES: makes the view that each line names, of the photo that it names.
#include "views.hpp"

#include <fstream>
#include <iterator>
#include <sstream>

int main(int, char **words) {
  std::ifstream cases(words[1]);
  for (std::string line; std::getline(cases, line);) {
    std::istringstream fields(line);
    std::string stored, out;
    int width, height, orientation;
    mobileiqa::View view;
    fields >> stored >> width >> height >> orientation >> view.width >> view.height >> view.fit >> view.filter >>
        view.patch >> out;
    std::ifstream file(stored, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const auto *rgb = reinterpret_cast<const std::uint8_t *>(bytes.data());
    const auto pixels = mobileiqa::make_views(mobileiqa::from_rgb(rgb, width, height, orientation), {view})[0];
    std::ofstream(out, std::ios::binary).write(reinterpret_cast<const char *>(pixels.data()), pixels.size());
  }
}
