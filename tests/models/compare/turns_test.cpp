#include "models/compare/turns.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace models {
namespace {

TEST(Turns, OneRunsAtATime) {
  Turns turns;
  std::string order;
  for (int round = 0; round < 2; ++round) {
    order.clear();
    turns.run(
        [&] {
          order += "a";
          turns.give();
          order += "b";
          turns.give();
          order += "c";
          turns.give();  // the other one has ended
          order += "d";
        },
        [&] {
          order += "1";
          turns.give();
          order += "2";
        });
    EXPECT_EQ(order, "a1b2cd");
  }
}

TEST(Turns, TheSecondGoesOnAlone) {
  Turns turns;
  std::string order;
  turns.run([&] { order += "a"; },
            [&] {
              order += "1";
              turns.give();
              order += "2";
            });
  EXPECT_EQ(order, "a12");
  turns.give();  // nobody runs
}

TEST(Turns, AFailureEndsBoth) {
  Turns turns;
  std::string order;
  const auto fails = [&] {
    order += "x";
    turns.give();
    order += "y";
    throw std::runtime_error("of one");
  };
  const auto goes_on = [&] {
    order += "1";
    turns.give();
    order += "2";
    turns.give();
    order += "never";
  };
  EXPECT_THROW(turns.run(fails, goes_on), std::runtime_error);
  EXPECT_EQ(order, "x1y");
  order.clear();
  EXPECT_THROW(turns.run(goes_on, fails), std::runtime_error);
  EXPECT_EQ(order, "1x2y");
  order.clear();
  EXPECT_THROW(turns.run([] { throw std::runtime_error("at once"); }, goes_on), std::runtime_error);
  EXPECT_EQ(order, "");
  turns.run([&] { order += "a"; }, [&] { order += "1"; });
  EXPECT_EQ(order, "a1");
}

TEST(Turns, BothHaveTheThreadsOfLibTorch) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  int threads = 0;
  {
    Turns turns;
    turns.run([] {}, [&] { threads = at::get_num_threads(); });
  }
  at::set_num_threads(before);
  EXPECT_EQ(threads, 1);
}

}  // namespace
}  // namespace models
