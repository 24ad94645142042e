// Tests hostile pickles, written by hand, opcode by opcode. Each is refused with a message, in
// bounded memory, and nothing is executed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>

#include "bridge/io/base/error.h"
#include "bridge/io/pickle/pickle.h"
#include "tests/io/file/memory_file.h"

namespace bridge {
namespace {

// Wraps a body: "\x80\x02", the body, STOP.
std::string pickle(std::string_view body) {
  return "\x80\x02" + std::string(body) + ".";
}
std::string repeat(std::string_view text, int64_t times) {
  std::string out;
  for (int64_t i = 0; i < times; ++i) out += text;
  return out;
}

struct BadPickle {
  const char* name;
  std::string bytes;
  const char* message;
};

void PrintTo(const BadPickle& bad, std::ostream* out) {
  *out << bad.name;
}

using namespace std::string_literals;

const BadPickle kBadPickles[] = {
    // the stream
    {"empty", "", "the pickle ends without STOP"},
    {"protocol_0_text", "I1\n.", "INT at byte 0: protocol 0 and 1 pickles are not read"},
    {"protocol_0_dict", "(dp0\n.", "MARK at byte 0: not a pickle of protocol 2"},
    {"protocol_1", "]q\x00."s, "not a pickle of protocol 2"},
    {"protocol_0_declared", "\x80\x00N."s, "PROTO at byte 0: protocol 0 is not read"},
    {"protocol_6", "\x80\x06N.", "protocol 6 is not read"},
    {"protocol_twice", "\x80\x02\x80\x02N.", "PROTO at byte 2: protocol given twice"},
    {"no_stop", "\x80\x02N", "at byte 3: the pickle ends without STOP"},
    {"bytes_after_stop", "\x80\x02N.N", "STOP at byte 3: bytes after the end"},
    {"nothing_on_stack", pickle(""), "0 values are left"},
    {"two_values", pickle("NN"), "STOP at byte 4: 2 values are left"},
    {"open_mark", pickle("N("), "1 values are left"},
    {"unknown_opcode", pickle("\xff"), "opcode 0xff at byte 2: unknown opcode"},
    // opcodes that we know and refuse
    {"text_int", pickle("I1\n"), "INT at byte 2: protocol 0"},
    {"text_string", pickle("S'a'\n"), "STRING at byte 2: protocol 0"},
    {"text_put", pickle("Np0\n"), "PUT at byte 3: protocol 0"},
    {"short_binstring", pickle("U\x01x"), "SHORT_BINSTRING at byte 2: protocol 0"},
    {"persid", pickle("Px\n"), "PERSID at byte 2: protocol 0"},
    {"inst", pickle("(ios\nsystem\n"), "INST at byte 3: Python 2 instances"},
    {"obj", pickle("(cos\nsystem\no"), "OBJ at byte 14: Python 2 instances"},
    {"ext1", pickle("\x82\x01"), "EXT1 at byte 2: extension registry"},
    {"ext4", pickle("\x84\x01\x00\x00\x00"s), "EXT4 at byte 2: extension registry"},
    {"next_buffer", pickle("\x97"), "NEXT_BUFFER at byte 2: out-of-band"},
    {"readonly_buffer", pickle("N\x98"), "READONLY_BUFFER at byte 3: out-of-band"},
    // sizes
    {"string_of_2_gib", pickle("X\xff\xff\xff\x7f"), "2147483647 bytes announced, 1 left"},
    {"string_of_2_64", pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
     "BINUNICODE8 at byte 2: 18446744073709551615 bytes announced"},
    {"bytes_of_2_63", pickle("\x8e\x00\x00\x00\x00\x00\x00\x00\x80"s),
     "BINBYTES8 at byte 2: 9223372"},
    {"bytearray_too_long", pickle("\x96\x02\x00\x00\x00\x00\x00\x00\x00"s), "2 bytes announced, 1"},
    {"long4_of_2_gib", pickle("\x8b\xff\xff\xff\x7f"),
     "LONG4 at byte 2: 2147483647 bytes announced"},
    {"long4_of_2_kib", pickle("\x8b\x00\x08\x00\x00"s + std::string(2048, 'x')),
     "an integer of 2048 bytes"},
    {"global_without_end", pickle("c" + std::string(2000, 'x')), "the name is too long"},
    {"global_cut_short",
     "\x80\x02"
     "cos\nsys",
     "GLOBAL at byte 2: the pickle is cut short"},
    {"number_cut_short", "\x80\x02J\x01\x02", "BININT at byte 2: the pickle is cut short"},
    // memo
    {"memo_bomb", pickle("Nr\xff\xff\xff\xff"), "LONG_BINPUT at byte 3: memo slot 4294967295"},
    {"memo_out_of_order", pickle("Nq\x01"), "memo slot 1 is out of order, 0 is next"},
    {"memo_twice", pickle("Nq\x00q\x00"s), "memo slot 0 is out of order, 1 is next"},
    {"get_unset", pickle("h\x05"), "BINGET at byte 2: memo slot 5 is not set"},
    {"get_before_put", pickle("h\x00q\x00"s), "memo slot 0 is not set"},
    {"long_get_unset", pickle("j\xff\xff\xff\xff"), "memo slot 4294967295 is not set"},
    {"put_of_nothing", pickle("q\x00N"s), "BINPUT at byte 2: too few values"},
    {"memoize_nothing", pickle("\x94N"), "MEMOIZE at byte 2: too few values"},
    // the stack
    {"pop_of_nothing", pickle("0"), "POP at byte 2: too few values"},
    {"pop_mark_without", pickle("N1"), "POP_MARK at byte 3: no MARK"},
    {"dup_of_nothing", pickle("2"), "DUP at byte 2: too few values"},
    {"dup_of_mark", pickle("N(2"), "DUP at byte 4: too few values"},
    {"tuple_without_mark", pickle("Nt"), "TUPLE at byte 3: no MARK"},
    {"tuple2_across_mark", pickle("N(N\x86"), "TUPLE2 at byte 5: too few values"},
    {"reduce_across_mark", pickle("cm\nf\n()R"), "REDUCE at byte 9: too few values"},
    {"appends_without_target", pickle("(Ne"), "APPENDS at byte 4: too few values"},
    {"appends_across_mark", pickle("]((Ne"), "APPENDS at byte 6: too few values"},
    {"setitem_across_mark", pickle("}(NNs"), "SETITEM at byte 6: too few values"},
    // types
    {"setitem_on_list", pickle("]NNs"), "SETITEM at byte 5: not a dict"},
    {"setitem_on_int", pickle("K\x01NNs"), "not a dict"},
    {"setitems_on_tuple", pickle(")(NNu"), "SETITEMS at byte 6: not a dict"},
    {"setitems_odd", pickle("}(NNNu"), "a key without a value"},
    {"append_to_dict", pickle("}Na"), "APPEND at byte 4: not a list"},
    {"append_to_string", pickle("X\x01\x00\x00\x00xNa"s), "not a list"},
    {"additems_to_list", pickle("](N\x90"), "ADDITEMS at byte 5: not a set"},
    {"unhashable_key", pickle("}]Ns"), "a list or dict as key"},
    {"stack_global_of_ints", pickle("K\x01K\x02\x93"), "STACK_GLOBAL at byte 6: module and name"},
    {"reduce_of_a_string", pickle("X\x01\x00\x00\x00x)R"s), "the callee is not a class"},
    {"reduce_of_an_object", pickle("cm\nf\n)R)R"), "the callee is not a class"},
    {"reduce_with_list", pickle("cm\nf\n]R"), "the arguments are not a tuple"},
    {"newobj_of_none", pickle("N)\x81"), "NEWOBJ at byte 4: the callee is not a class"},
    {"newobj_ex_keywords", pickle("cm\nf\n)N\x92"), "the keyword arguments are not a dict"},
    {"build_on_dict", pickle("}}b"), "not an object"},
    {"build_twice", pickle("cm\nf\n)R}b}b"), "the object has a state already"},
    {"items_of_two_kinds", pickle("cm\nf\n)RNaNNs"), "cannot add items"},
    {"text_not_utf8", pickle("X\x01\x00\x00\x00\xff"s), "BINUNICODE at byte 2: not UTF-8"},
    {"class_with_space", pickle("cos system\nx\n"), "\"os system\" \"x\" is no class name"},
    {"class_without_name", pickle("cos\n\n"), "is no class name"},
    {"class_with_escape", pickle("cos\n\x1b[2J\n"), "\"\\x1b[2J\" is no class name"},
    // classes that this test does not allow
    {"os_system", unhex("800263706f7369780a73797374656d0a71005802000000696471018571025271032e"),
     "GLOBAL at byte 2: class posix.system does not belong here"},
    {"builtins_eval",
     unhex("8004951d000000000000008c086275696c74696e73948c046576616c9493948c013194859452942e"),
     "STACK_GLOBAL at byte 29: class builtins.eval does not belong here"},
    {"getattr_chain", pickle("cbuiltins\ngetattr\ncbuiltins\ndict\nX\x03\x00\x00\x00getR"s),
     "class builtins.getattr does not belong here"},
    {"allowed_name_of_other_module", pickle("cos\nf\n"), "class os.f does not belong here"},
    // shapes
    {"list_in_itself", unhex("80049506000000000000005d946800612e"),
     "APPEND at byte 15: changes a value that is already part of another one, or of itself"},
    {"dict_in_itself", unhex("80027d7100580400000073656c6671016800857102732e"),
     "SETITEM at byte 21: changes a value"},
    {"object_in_its_state", pickle("cm\nf\n)\x81q\x00}X\x01\x00\x00\x00xh\x00sb"s),
     "BUILD at byte 21: changes a value"},
    {"object_in_its_list", pickle("cm\nf\n)R2a"), "APPEND at byte 10: changes a value"},
    {"object_in_its_dict", pickle("cm\nf\n)Rq\x00Nh\x00s"s),
     "SETITEM at byte 14: cannot add items"},
    {"object_twice_in_its_list", pickle("cm\nf\n)RNa2a"), "cannot add items to this object"},
    {"object_as_its_state", pickle("cm\nf\n)R2b"), "BUILD at byte 10: changes a value"},
    {"changed_after_use", pickle("]q\x00\x85h\x00Na"s), "changes a value"},
    {"million_marks", pickle(repeat("(", 1'000'000)), "MARK at byte 66: nested deeper than 64"},
    {"million_tuples", pickle("N" + repeat("\x85", 1'000'000)), "nested deeper than 64"},
    {"sixty_five_tuples", pickle("N" + repeat("\x85", 65)),
     "TUPLE1 at byte 67: nested deeper than 64"},
    {"million_persistent_ids", pickle("N" + repeat("Q", 1'000'000)), "nested deeper than 64"},
    // 2^60 values: 60 pairs, each of which holds the one before it twice
    {"billion_laughs", pickle("N" + repeat("\x32\x86", 60)), "more than 67108864 values"},
};

class BadPickleTest : public testing::TestWithParam<BadPickle> {};

TEST_P(BadPickleTest, IsRefused) {
  PickleOptions options;
  options.allowed_classes = {{"m", "f"}};
  MemoryBudget budget(8 << 20);
  const std::clock_t start = std::clock();
  try {
    read_pickle(GetParam().bytes, options, budget);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
  }
  EXPECT_EQ(budget.used(), 0);
  // Measures the time of this process, so that other load does not count. Work that grows faster
  // than its input would take minutes; a sanitized build on a slow machine takes seconds.
  EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 60);
}

INSTANTIATE_TEST_SUITE_P(All, BadPickleTest, testing::ValuesIn(kBadPickles),
                         [](const auto& test) { return test.param.name; });

// The file is as long as announced but exceeds the budget, so it is refused before anything is
// allocated.
TEST(ReadPickle, LongStringInASparseFile) {
  constexpr int64_t kLength = int64_t{1} << 40;
  std::string head = "\x80\x04\x8d";
  for (int i = 0; i < 8; ++i) head.push_back(static_cast<char>(kLength >> (8 * i) & 0xff));
  MemoryFile file(head);
  file.put(std::ssize(head) + kLength, ".");
  MemoryBudget budget(1 << 20);
  try {
    read_pickle(file, 0, file.size(), {}, budget);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUsage);
    EXPECT_NE(e.message().find("pickled text take it to 1.0TiB"), std::string::npos) << e.message();
  }
  EXPECT_EQ(budget.used(), 0);
  EXPECT_LT(file.bytes_read(), 1 << 20);
}

// Many values, many stack entries and a long batch also exhaust the budget.
TEST(ReadPickle, GrowthIsCharged) {
  const std::pair<const char*, std::string> cases[] = {
      {"stack", pickle(repeat("N", 1'000'000))},
      {"lists", pickle("(" + repeat("]", 200'000) + "t")},
      {"one batch", pickle("](" + repeat("N", 200'000) + "e")},
      {"memo", pickle(repeat("]\x94", 60'000) + repeat("j\x01\x00\x00\x00"s, 100'000))},
  };
  for (const auto& [name, bytes] : cases) {
    MemoryBudget budget(1 << 20);
    try {
      read_pickle(bytes, {}, budget);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kUsage) << name;
    }
    EXPECT_EQ(budget.used(), 0) << name;
  }
}

TEST(ReadPickle, RegionOutsideTheFile) {
  const MemoryFile file("\x80\x02N.");
  MemoryBudget budget(1 << 20);
  for (const auto& [offset, length] :
       {std::pair<int64_t, int64_t>{0, 5}, {-1, 4}, {INT64_MAX, 4}, {0, -1}}) {
    EXPECT_THROW(read_pickle(file, offset, length, {}, budget), Error);
  }
}

}  // namespace
}  // namespace bridge
