// SPDX-License-Identifier: Apache-2.0
//
// What a run leaves beside its state: which checkpoints stay, what evaluations decide, monitors.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/text_file.hpp"
#include "engine/checkpoint_retention.hpp"
#include "engine/evaluations.hpp"
#include "engine/event_file.hpp"
#include "engine/monitor.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using Steps = std::vector<std::int64_t>;

class Directory : public testing::Test {
 protected:
  Directory() {
    std::string name = (fs::temp_directory_path() / "fathom-files-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~Directory() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  fs::path path_;
};

TEST(Retention, KeepsTheLastOnesAndTheBest) {
  EXPECT_EQ(expendable_steps({2, 4, 6, 8}, {2, 4, 6, 8}, 2, {}), (Steps{4, 2}));
  EXPECT_EQ(expendable_steps({2, 4, 6, 8}, {2, 4, 6, 8}, 2, 2), (Steps{4}));
  EXPECT_EQ(expendable_steps({2, 4, 6, 8}, {2, 4, 6, 8}, 1, 8), (Steps{6, 4, 2}));
  EXPECT_EQ(expendable_steps({2}, {2}, 5, {}), Steps{});
  EXPECT_EQ(expendable_steps({}, {}, 1, 3), Steps{});
}

TEST(Retention, GivesUpWhatIsAnotherRuns) {
  EXPECT_EQ(expendable_steps({2, 4, 6, 8}, {4}, 3, {}), (Steps{8, 6, 2}));
  EXPECT_EQ(expendable_steps({2, 4, 6}, {}, 3, 4), (Steps{6, 4, 2}));
}

TEST(Retention, NamesOfStepDirectoriesGoBothWays) {
  for (const std::int64_t step : {0L, 7L, 260L, 99'999'999L, 1'234'567'890L})
    EXPECT_EQ(step_of_directory(step_directory_name(step)), step);
  for (const char* other : {"step-", "step-1.partial", "step--1", "latest", "step-x", "step-1 "})
    EXPECT_FALSE(step_of_directory(other)) << other;
}

TEST(EvaluationRules, TheBestIsTheLowestAndPatienceCountsFromIt) {
  const EvaluationRule plain;
  EXPECT_EQ(judge({}, plain), (EvaluationState{{}, 0}));
  EXPECT_EQ(judge({3, 2, 2.5, 2}, plain), (EvaluationState{1, 2}));
  EXPECT_EQ(judge({3, 2, 1}, plain), (EvaluationState{2, 0}));
  EXPECT_EQ(judge({3, 2.95, 2.8}, {.threshold = 0.1}), (EvaluationState{2, 0}));
  EXPECT_EQ(judge({3, 2.95, 2.92}, {.threshold = 0.1}), (EvaluationState{0, 2}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(judge({nan, 2, nan}, plain), (EvaluationState{1, 1}));
}

TEST_F(Directory, EvaluationsGoOnWhereTheRunDoes) {
  const auto metrics = [](std::int64_t step, double loss) {
    return EvalMetrics{.step = step, .loss = loss, .tokens = 64, .seconds = 0.5};
  };
  auto first = Evaluations::open(path_, {.patience = 2}, {});
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->add(metrics(2, 3.1234567890123456)).value());
  EXPECT_FALSE(first->add(metrics(4, 3.5)).value());
  EXPECT_FALSE(first->exhausted());
  EXPECT_FALSE(first->add(metrics(6, 3.4)).value());
  EXPECT_TRUE(first->exhausted());
  std::ofstream(path_ / "evaluations.jsonl", std::ios::app) << "{\"step\":8,\"eval_lo";

  auto resumed = Evaluations::open(path_, {.patience = 2}, 5);
  ASSERT_TRUE(resumed) << resumed.error().message();
  ASSERT_EQ(resumed->all().size(), 2U) << "step 6 is yet to come";
  EXPECT_EQ(resumed->best()->loss, 3.1234567890123456) << "every bit of it";
  EXPECT_FALSE(resumed->exhausted());
  EXPECT_FALSE(resumed->add(metrics(6, 3.4)).value());
  EXPECT_TRUE(resumed->exhausted());
  EXPECT_EQ(Evaluations::open(path_, {}, {})->all().size(), 0U) << "a new run";
}

TEST_F(Directory, CsvFilesHaveDeepSpeedsNamesAndGoOn) {
  config::Config config;
  config.csv_monitor = {.enabled = true, .output_path = path_, .job_name = "job"};
  for (const bool append : {false, true}) {
    auto monitors = Monitors::open(config, append);
    ASSERT_TRUE(monitors) << monitors.error().message();
    monitors->add(append ? 16 : 8, {{"Train/Samples/train_loss", 2.5}, {"Train/Samples/lr", 1e-4}});
  }
  EXPECT_EQ(read(path_ / "job/Train_Samples_train_loss.csv"), "step,train_loss\n8,2.5\n16,2.5\n");
  EXPECT_EQ(read(path_ / "job/Train_Samples_lr.csv"), "step,lr\n8,0.0001\n16,0.0001\n");
  auto again = Monitors::open(config, false);
  ASSERT_TRUE(again);
  again->add(4, {{"Train/Samples/lr", 1}});
  EXPECT_EQ(read(path_ / "job/Train_Samples_lr.csv"), "step,lr\n4,1\n") << "a new run";
}

TEST(Crc32c, IsCastagnolisWithTensorFlowsMask) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);            // the check value of the polynomial
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  const std::uint32_t crc = crc32c("foo");
  EXPECT_EQ(masked_crc32c("foo"), ((crc >> 15) | (crc << 17)) + 0xa282ead8U);
}

// A reader of its own, from the format's description.
struct Reader {
  std::string_view bytes;
  template <class T>
  T raw() {
    T value{};
    if (bytes.size() < sizeof value) throw std::runtime_error("too short");
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    return value;
  }
  std::string_view take(std::uint64_t count) {
    if (bytes.size() < count) throw std::runtime_error("too short");
    const std::string_view taken = bytes.substr(0, count);
    bytes.remove_prefix(count);
    return taken;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = raw<unsigned char>();
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string_view text() { return take(varint()); }
};

struct Event {
  double wall_time = 0;
  std::uint64_t step = 0;
  std::string version;
  std::vector<std::pair<std::string, float>> values;
};

Event parse_event(std::string_view record) {
  Event event;
  for (Reader reader{record}; !reader.bytes.empty();) {
    switch (reader.varint()) {
      case 1 << 3 | 1: event.wall_time = reader.raw<double>(); break;
      case 2 << 3 | 0: event.step = reader.varint(); break;
      case 3 << 3 | 2: event.version = reader.text(); break;
      case 5 << 3 | 2:
        for (Reader summary{reader.text()}; !summary.bytes.empty();) {
          if (summary.varint() != (1 << 3 | 2)) throw std::runtime_error("no Value");
          std::pair<std::string, float> value;
          for (Reader field{summary.text()}; !field.bytes.empty();) {
            const std::uint64_t key = field.varint();
            if (key == (1 << 3 | 2))
              value.first = field.text();
            else if (key == (2 << 3 | 5))
              value.second = field.raw<float>();
            else
              throw std::runtime_error("another field");
          }
          event.values.push_back(value);
        }
        break;
      default: throw std::runtime_error("another key");
    }
  }
  return event;
}

TEST_F(Directory, EventsAreReadBackAsTheyWereWritten) {
  auto file = EventFile::create(path_);
  ASSERT_TRUE(file) << file.error().message();
  const std::vector<MonitorPoint> points = {{"Train/Samples/train_loss", 2.25},
                                            {"Train/Samples/lr", 1e-4}};
  ASSERT_TRUE((*file)->add(300, points));
  ASSERT_TRUE((*file)->add(1'000'000, {points.data(), 1}));
  EXPECT_TRUE(fs::path((*file)->path()).filename().string().starts_with("events.out.tfevents."));
  const std::string content = read((*file)->path());
  std::vector<Event> events;
  for (Reader reader{content}; !reader.bytes.empty();) {
    const std::string_view length_bytes = reader.bytes.substr(0, 8);
    const auto length = reader.raw<std::uint64_t>();
    EXPECT_EQ(reader.raw<std::uint32_t>(), masked_crc32c(length_bytes));
    const std::string_view record = reader.take(length);
    EXPECT_EQ(reader.raw<std::uint32_t>(), masked_crc32c(record));
    events.push_back(parse_event(record));
  }
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.6e9);
  EXPECT_EQ(events[1].step, 300U);
  ASSERT_EQ(events[1].values.size(), 2U);
  EXPECT_EQ(events[1].values[0],
            (std::pair<std::string, float>("Train/Samples/train_loss", 2.25F)));
  EXPECT_EQ(events[1].values[1], (std::pair<std::string, float>("Train/Samples/lr", 1e-4F)));
  EXPECT_EQ(events[2].step, 1'000'000U);
}

TEST_F(Directory, AMonitorThatCannotBeOpenedIsAnError) {
  std::ofstream(path_ / "file") << "x";
  config::Config config;
  config.tensorboard = {.enabled = true, .output_path = path_ / "file", .job_name = "job"};
  const auto refused = Monitors::open(config, false);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("file/job"), std::string::npos)
      << refused.error().message();
}

}  // namespace
}  // namespace fathom::engine
