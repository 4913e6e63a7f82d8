// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <cerrno>

#include <gtest/gtest.h>

#include "base/result.hpp"

namespace fathom {
namespace {

TEST(Error, SaysWhatOnWhatWhyAndWhatToDo) {
  const Error error = Error(Errc::io, "read a block")
                          .on("/data/x at 4096")
                          .because_errno(EIO)
                          .remedy("check the disk");
  EXPECT_EQ(error.message(),
            "read a block: /data/x at 4096: Input/output error (errno 5); check the disk");
  EXPECT_EQ(error.errno_value(), EIO);
}

TEST(Error, KeepsTheReasonInFrontOfErrno) {
  const Error error = Error(Errc::io, "open").because("after 3 tries").because_errno(EACCES);
  EXPECT_EQ(error.message(), "open: after 3 tries: Permission denied (errno 13)");
}

TEST(Error, WithinAddsTheOuterTargetInFront) {
  const Error error = Error(Errc::corrupt, "verify").on("file f").within("tensor t");
  EXPECT_EQ(error.target(), "tensor t, file f");
}

Result<int> half(int value) {
  if (value % 2 != 0) return fail(Error(Errc::bad_input, "halve").because("odd"));
  return value / 2;
}

Result<int> quarter(int value) {
  FATHOM_ASSIGN(const int once, half(value));
  FATHOM_CHECK(half(once));
  return once / 2;
}

TEST(Result, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(*quarter(8), 2);
  ASSERT_FALSE(quarter(6));
  EXPECT_EQ(quarter(6).error().code(), Errc::bad_input);
  EXPECT_FALSE(quarter(3));
}

}  // namespace
}  // namespace fathom
