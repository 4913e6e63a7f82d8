// SPDX-License-Identifier: Apache-2.0
//
// Training as a library, in a page: a model, a configuration, steps, an evaluation, a checkpoint, a
// parameter as a whole. Builds against the installed package; no LibTorch header is seen.
//
//   c++ -std=c++23 train.cpp $(pkg-config --cflags --libs fathom-engine) -o train
//   ./train MODEL_DIR TEXT_FILE DS_CONFIG OUT
#include <cstdio>
#include <fstream>
#include <iterator>

#include <fathom/engine.hpp>

namespace {

// Windows of `length` + 1 bytes as tokens: inputs, and the same moved by one as targets.
struct Text {
  std::vector<std::int64_t> ids, targets;
  Text(const std::string& bytes, const fathom::Shape& shape, std::size_t& at) {
    for (std::uint64_t row = 0; row < shape.rows; ++row) {
      if (at + shape.length + 1 > bytes.size()) at = 0;
      for (std::uint64_t i = 0; i < shape.length; ++i, ++at) {
        ids.push_back(static_cast<unsigned char>(bytes[at]));
        targets.push_back(static_cast<unsigned char>(bytes[at + 1]));
      }
    }
  }
};

fathom::Result<void> train(char** argv) {
  std::ifstream file(argv[2], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  FATHOM_ASSIGN(fathom::Engine engine,
                fathom::Engine::create({.model = argv[1], .config = argv[3], .length = 64}));
  std::size_t at = 0;
  const Text held_out(bytes, engine.shape(), at);
  for (int i = 0; i < 20; ++i) {
    const Text text(bytes, engine.shape(), at);
    FATHOM_ASSIGN(const fathom::Step step, engine.step({text.ids, text.targets}));
    std::printf("step %ld  loss %.4f  lr %g\n", static_cast<long>(step.step), step.loss, step.lr);
  }
  FATHOM_ASSIGN(const double loss, engine.evaluate({held_out.ids, held_out.targets}));
  FATHOM_ASSIGN(const std::string path, engine.save(argv[4]));
  std::printf("held-out loss %.4f, saved %s\n", loss, path.c_str());
  const std::string name = engine.parameters().front().name;
  FATHOM_ASSIGN(const std::vector<float> weight, engine.read(name));
  std::printf("%s has %zu elements, the first is %g\n", name.c_str(), weight.size(), weight[0]);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return std::fprintf(stderr, "usage: train MODEL TEXT CONFIG OUT\n"), 2;
  const auto done = train(argv);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
