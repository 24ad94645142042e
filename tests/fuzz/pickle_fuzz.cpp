// pickle: from memory and from a file the same pickles are accepted, whatever classes they name.
#include "bridge/io/pickle/pickle.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  const bridge::PickleOptions options;
  bridge::PickleValue from_memory;
  bridge::PickleValue from_file;
  const bool memory = fuzz::accepts([&] {
    bridge::MemoryBudget budget(fuzz::kMemory);
    from_memory = bridge::read_pickle(input, options, budget);
  });
  const bool file = fuzz::accepts([&] {
    bridge::MemoryBudget budget(fuzz::kMemory);
    const fuzz::MemoryFile source{std::string(input)};
    from_file = bridge::read_pickle(source, 0, source.size(), options, budget);
  });
  fuzz::require(memory == file);
  if (memory) {
    fuzz::require(from_memory != nullptr && from_file != nullptr);
    fuzz::require(from_memory->kind == from_file->kind);
    fuzz::require(from_memory->items.size() == from_file->items.size());
  }
}
