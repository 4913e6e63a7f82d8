// SPDX-License-Identifier: Apache-2.0
//
// Hazards: what each operation of a pass must come after, from what it reads and writes. Pure.
//
// Purpose      A builder says which part of which place an operation reads or writes; reads come
//              after the last write, writes after the last write and all reads since, and a refill
//              (new contents, other parts) after everything that used the old ones. `finish` closes
//              the cycle: what came first in a pass comes after what came last in the pass before.
//              So dependencies are complete by construction.
// Ownership    Borrows the program under construction.
// Threads      Pure.
//
//   Hazards hazards(program, places);
//   hazards.refill(slot, chunks);
//   hazards.write(fetch, slot, 0); hazards.read_all(forward, slot); …
//   hazards.finish();
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/plan/program.hpp"

namespace fathom::engine {

// Something with contents: a buffer, or bytes of a file. Numbered by the builder.
using Place = std::uint32_t;

class Hazards {
 public:
  Hazards(StepProgram& program, std::size_t places) : program_(program), records_(places) {}

  void read(OpId op, Place place, std::uint32_t part = 0);
  void write(OpId op, Place place, std::uint32_t part = 0);
  void read_all(OpId op, Place place, std::uint32_t parts);
  void write_all(OpId op, Place place, std::uint32_t parts);
  // From here on the place holds something else.
  void refill(Place place);

  void finish();

 private:
  // Operations none of which stands for another: of those that run in list order, the last.
  class Latest {
   public:
    void add(OpId op, const StepProgram& program);
    void clear() { size_ = 0; }
    bool empty() const { return size_ == 0; }
    const OpId* begin() const { return ops_.data(); }
    const OpId* end() const { return ops_.data() + size_; }

   private:
    std::array<OpId, 12> ops_{};
    std::uint32_t size_ = 0;
  };
  static constexpr OpId nobody = 0xFFFFFFFF;
  struct Part {
    OpId last_write = nobody;
    Latest reads;  // since the last write
    // In this pass, with nothing of it before them.
    OpId first_write = nobody;
    Latest early_reads;
  };
  struct Record {
    std::vector<Part> parts;
    std::vector<OpId> before;        // users of the contents before these, in this pass
    bool refilled = false;           // in this pass, and something was there
    bool changes = false;            // refill was called: all contents of a pass are strangers
    std::vector<OpId> first_writes;  // of the first contents of the pass, once they are replaced
  };

  Part& part_of(Record& record, std::uint32_t part);
  void list_users(const Record& record, std::vector<OpId>& users) const;
  void after(OpId op, OpId earlier, std::uint32_t lag);

  StepProgram& program_;
  std::vector<Record> records_;
  std::vector<OpId> scratch_;
};

}  // namespace fathom::engine
