// main() of a fuzz target in builds without libFuzzer: feeds it every file of the directories (or every file)
// given as arguments, so that the corpus is an ordinary test with any compiler. A corpus without a file is a
// failure: a test that replays nothing proves nothing.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> inputs_of(const fs::path& argument) {
  std::vector<fs::path> files;
  std::error_code error;
  if (fs::is_directory(argument, error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator{argument, error}) {
      if (entry.is_regular_file(error))
        files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
  } else if (fs::is_regular_file(argument, error)) {
    files.push_back(argument);
  }
  return files;
}

bool replay(const fs::path& path) {
  std::ifstream stream{path, std::ios::binary};
  if (!stream) {
    std::fprintf(stderr, "%s: cannot be opened\n", path.c_str());
    return false;
  }
  const std::string content{std::istreambuf_iterator<char>{stream}, {}};
  // An exact copy, so that a sanitizer sees a read past the end.
  const std::vector<std::uint8_t> bytes(content.begin(), content.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t replayed = 0;
  for (int i = 1; i < argc; ++i) {
    const std::vector<fs::path> files = inputs_of(argv[i]);
    if (files.empty()) {
      std::fprintf(stderr, "%s: no file to replay\n", argv[i]);
      return 1;
    }
    for (const fs::path& file : files) {
      if (!replay(file))
        return 1;
      ++replayed;
    }
  }
  std::printf("%zu inputs replayed\n", replayed);
  return replayed == 0 ? 1 : 0;
}
