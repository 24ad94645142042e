// Pickles: those of CPython decode to what they hold, ours are what CPython writes, hostile ones
// are refused. Pickles in hex were made with Python 3.11's pickle.dumps.
#include "bridge/io/pickle/pickle.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "tests/io/file/memory_file.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

constexpr int64_t kPlenty = 64 << 20;
// In data/pickles/metadata_moe_mtp.bin, counted with Python.
constexpr int64_t kTensorsInMetadata = 92;
constexpr int64_t kItemsInMetadata = 126;

// A node as one line of text.
std::string text_of(const PickleNode& node);

std::string text_of(const std::vector<PickleValue>& items) {
  std::string out;
  for (const PickleValue& item : items) out += (out.empty() ? "" : " ") + text_of(*item);
  return out;
}

std::string text_of(const PickleNode& node) {
  switch (node.kind) {
    case NodeKind::kNone:
      return "None";
    case NodeKind::kBool:
      return node.boolean ? "True" : "False";
    case NodeKind::kInt:
      return std::to_string(node.integer);
    case NodeKind::kBigInt:
      return "big:" + node.text;
    case NodeKind::kReal:
      return fmt::format("{}", node.real);
    case NodeKind::kString:
      return "'" + printable(node.text) + "'";
    case NodeKind::kBytes:
      return "b'" + printable(node.text) + "'";
    case NodeKind::kTuple:
      return "(" + text_of(node.items) + ")";
    case NodeKind::kList:
      return "[" + text_of(node.items) + "]";
    case NodeKind::kSet:
      return "set{" + text_of(node.items) + "}";
    case NodeKind::kDict:
      return "{" + text_of(node.items) + "}";
    case NodeKind::kClass:
      return "<" + node.text + ">";
    case NodeKind::kObject:
      return "object(" + text_of(node.items) + ")";
    case NodeKind::kPersistent:
      return "persistent(" + text_of(node.items) + ")";
  }
  return "?";
}

std::string decoded(std::string_view bytes, const PickleOptions& options = {}) {
  MemoryBudget budget(kPlenty);
  return text_of(*read_pickle(bytes, options, budget));
}

// What v = {'a': 1, 'b': [1, 2.5, None, True, False], 't': (1, (2,), (3, 4), (5, 6, 7), (1, 2, 3,
// 4), ()), 'neg': -5, 'big': 65536, 'i64': 2**40, 'n64': -2**63, 'u64': 2**64, 'nbig': -2**80, 's':
// 'é\ud800', 'by': b'ab\0', 'set': {3}, 'fs': frozenset([4])} decodes to; protocol 2 and 3 make
// bytes and sets by calls.
constexpr const char* kValue =
    "{{'a' 1 'b' [1 2.5 None True False] 't' (1 (2) (3 4) (5 6 7) (1 2 3 4) ()) 'neg' -5 'big' "
    "65536 "
    "'i64' 1099511627776 'n64' -9223372036854775808 'u64' big:0x010000000000000000 "
    "'nbig' big:-0x0100000000000000000000 's' 'é\\xed\\xa0\\x80' 'by' {} 'set' {} 'fs' {}}}";

TEST(ReadPickle, Protocols) {
  const std::string v4 =
      "7d94288c0161944b018c0162945d94284b014740040000000000004e8889658c017494284b014b0285944b034b04"
      "86944b054b064b078794284b014b024b034b0474942974948c036e6567944afbffffff8c03626967944a00000100"
      "8c03693634948a060000000000018c036e3634948a0800000000000000808c03753634948a090000000000000000"
      "018c046e626967948a0b00000000000000000000ff8c0173948c05c3a9eda080948c026279944303616200948c03"
      "736574948f94284b03908c02667394284b049194752e";
  const std::string expected = fmt::format(fmt::runtime(kValue), "b'ab\\x00'", "set{3}", "set{4}");
  EXPECT_EQ(decoded(unhex("800495ce00000000000000" + v4)), expected);
  EXPECT_EQ(decoded(unhex("800595ce00000000000000" + v4)), expected);
  EXPECT_EQ(
      decoded(unhex("80037d71002858010000006171014b0158010000006271025d7103284b01474004000000000000"
                    "4e8889655801000000747104284b014b028571054b034b048671064b054b064b07877107284b01"
                    "4b024b034b047471082974710958030000006e6567710a4afbffffff5803000000626967710b4a"
                    "000001005803000000693634710c8a0600000000000158030000006e3634710d8a080000000000"
                    "0000805803000000753634710e8a0900000000000000000158040000006e626967710f8a0b0000"
                    "0000000000000000ff58010000007371105805000000c3a9eda080711158020000006279711243"
                    "03616200711358030000007365747114636275696c74696e730a7365740a71155d71164b036185"
                    "7117527118580200000066737119636275696c74696e730a66726f7a656e7365740a711a5d711b"
                    "4b046185711c52711d752e")),
      fmt::format(fmt::runtime(kValue), "b'ab\\x00'", "object(<builtins set> ([3]))",
                  "object(<builtins frozenset> ([4]))"));
  EXPECT_EQ(
      decoded(unhex("80027d71002858010000006171014b0158010000006271025d7103284b01474004000000000000"
                    "4e8889655801000000747104284b014b028571054b034b048671064b054b064b07877107284b01"
                    "4b024b034b047471082974710958030000006e6567710a4afbffffff5803000000626967710b4a"
                    "000001005803000000693634710c8a0600000000000158030000006e3634710d8a080000000000"
                    "0000805803000000753634710e8a0900000000000000000158040000006e626967710f8a0b0000"
                    "0000000000000000ff58010000007371105805000000c3a9eda080711158020000006279711263"
                    "5f636f646563730a656e636f64650a71135803000000616200711458060000006c6174696e3171"
                    "1586711652711758030000007365747118635f5f6275696c74696e5f5f0a7365740a71195d711a"
                    "4b036185711b52711c58020000006673711d635f5f6275696c74696e5f5f0a66726f7a656e7365"
                    "740a711e5d711f4b0461857120527121752e")),
      fmt::format(fmt::runtime(kValue), "object(<_codecs encode> ('ab\\x00' 'latin1'))",
                  "object(<__builtin__ set> ([3]))", "object(<__builtin__ frozenset> ([4]))"));
}

TEST(ReadPickle, Objects) {
  // argparse.Namespace(a=1, b='x')
  EXPECT_EQ(
      decoded(unhex("80049530000000000000008c086172677061727365948c094e616d65737061636594939429"
                    "81947d94288c0161944b018c0162948c01789475622e")),
      "object(<argparse Namespace> () {'a' 1 'b' 'x'})");
  // OrderedDict([('x', 1), ('y', 2)]), protocols 2 and 4
  EXPECT_EQ(
      decoded(unhex("800263636f6c6c656374696f6e730a4f726465726564446963740a71002952710128580100"
                    "00007871024b0158010000007971034b02752e")),
      "object(<collections OrderedDict> () None {'x' 1 'y' 2})");
  EXPECT_EQ(
      decoded(unhex("80049530000000000000008c0b636f6c6c656374696f6e73948c0b4f726465726564446963"
                    "74949394295294288c0178944b018c0179944b02752e")),
      "object(<collections OrderedDict> () None {'x' 1 'y' 2})");
  // a subclass of list with items 1, 2 and an attribute extra=3
  EXPECT_EQ(
      decoded(unhex("80049524000000000000008c036d6f64948c014c949394298194284b014b02657d948c0565"
                    "78747261944b0373622e")),
      "object(<mod L> () {'extra' 3} [1 2])");
  // an enum member
  EXPECT_EQ(decoded(unhex("80049513000000000000008c036d6f64948c01459493944b01859452942e")),
            "object(<mod E> (1))");
  // __getnewargs_ex__ returning (), {'k': 5}
  EXPECT_EQ(
      decoded(unhex("80049519000000000000008c036d6f64948c014b949394297d948c016b944b057392942e")),
      "object(<mod K> ({'k' 5}))");
  // numpy.float32(1.5): a dtype whose state is a tuple, as an argument
  EXPECT_EQ(
      decoded(unhex("8002636e756d70792e5f636f72652e6d756c746961727261790a7363616c61720a7100636e75"
                    "6d70790a64747970650a71015802000000663471028988877103527104284b0358010000003c"
                    "71054e4e4e4affffffff4affffffff4b0074710662635f636f646563730a656e636f64650a71"
                    "0758050000000000c3803f710858060000006c6174696e31710986710a52710b86710c52710d"
                    "2e")),
      "object(<numpy._core.multiarray scalar> (object(<numpy dtype> ('f4' False True) "
      "(3 '<' None None None -1 -1 0)) object(<_codecs encode> ('\\x00\\x00À?' 'latin1'))))");
  EXPECT_EQ(decoded(unhex("8005950d000000000000009602000000000000007879942e")), "b'xy'");
}

TEST(ReadPickle, StackOpcodes) {
  EXPECT_EQ(decoded("\x80\x02K\x01\x32\x86."), "(1 1)");         // DUP
  EXPECT_EQ(decoded("\x80\x02K\x01K\x02\x30."), "1");            // POP
  EXPECT_EQ(decoded("\x80\x02K\x01(K\x02K\x03\x31."), "1");      // POP_MARK
  EXPECT_EQ(decoded("\x80\x02K\x01(\x30."), "1");                // POP of a mark
  EXPECT_EQ(decoded(std::string("\x80\x02\x8a\x00.", 5)), "0");  // LONG1 of nothing
  EXPECT_EQ(decoded(std::string("\x80\x02\x8b\x01\x00\x00\x00\xfe.", 9)), "-2");  // LONG4
  EXPECT_EQ(decoded(std::string("\x80\x02X\x01\x00\x00\x00kQ.", 10)), "persistent('k')");
  EXPECT_EQ(decoded("\x80\x02](K\x01K\x02\x65K\x03\x61."), "[1 2 3]");
  EXPECT_EQ(decoded("\x80\x02}K\x01K\x02s(K\x01K\x05u."), "{1 2 1 5}");
}

// LONG1 in every length: sign extension is dropped, 64 bits are kInt, more are kBigInt.
TEST(ReadPickle, Integers) {
  const auto long1 = [](std::string_view hex) {
    return decoded(unhex(fmt::format("80028a{:02x}{}2e", hex.size() / 2, hex)));
  };
  EXPECT_EQ(long1("ff"), "-1");
  EXPECT_EQ(long1("ff00"), "255");
  EXPECT_EQ(long1("ffffffffffffff7f"), "9223372036854775807");
  EXPECT_EQ(long1("000000000000000080"), "big:-0x800000000000000000");
  EXPECT_EQ(long1("ffffffffffffffff00"), "big:0x00ffffffffffffffff");
  EXPECT_EQ(long1("010000000000000000"), "1");
  EXPECT_EQ(long1("feffffffffffffffffff"), "-2");
}

TEST(PickleNode, Lookup) {
  MemoryBudget budget(kPlenty);
  const PickleValue ns = read_pickle(
      unhex("80049530000000000000008c086172677061727365948c094e616d6573706163659493942981"
            "947d94288c0161944b018c0162948c01789475622e"),
      {}, budget);
  EXPECT_TRUE(ns->is_object_of("argparse", "Namespace"));
  EXPECT_FALSE(ns->is_object_of("argparse", "Name"));
  EXPECT_FALSE(ns->is_object_of("arg", "parse Namespace"));
  EXPECT_EQ(ns->get("a")->integer, 1);
  EXPECT_EQ(ns->get("c"), nullptr);
  const PickleValue ordered = read_pickle(
      unhex("800263636f6c6c656374696f6e730a4f726465726564446963740a710029527101285801000000"
            "7871024b0158010000007971034b02752e"),
      {}, budget);
  EXPECT_EQ(ordered->get("y")->integer, 2);
  const PickleValue twice =
      read_pickle(std::string_view("\x80\x02}(X\1\0\0\0aK\1X\1\0\0\0aK\2u.", 22), {}, budget);
  EXPECT_EQ(twice->get("a")->integer, 2);  // as in Python, the last one counts
}

// Values cost budget while they live and nothing after, also when decoding fails.
TEST(ReadPickle, BudgetIsGivenBack) {
  MemoryBudget budget(kPlenty);
  PickleValue value = read_pickle(read_data("pickles/metadata_moe_mtp.bin"), {}, budget);
  EXPECT_GT(budget.used(), 20'000);
  EXPECT_EQ(value->items.size(), 3u);
  value.reset();
  EXPECT_EQ(budget.used(), 0);

  const std::string bytes = read_data("pickles/metadata_moe_mtp.bin");
  for (int64_t limit = 0; limit < 200'000; limit += 3001) {
    MemoryBudget small(limit);
    try {
      read_pickle(bytes, {}, small);
      ADD_FAILURE() << limit;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kUsage);
    }
    EXPECT_EQ(small.used(), 0);
  }
}

TEST(ReadPickle, EveryTruncationIsRefused) {
  const std::string bytes = read_data("pickles/metadata_moe_mtp.bin");
  MemoryBudget budget(kPlenty);
  for (size_t size = 0; size < bytes.size(); size += size < 500 ? 1 : 211) {
    EXPECT_THROW(read_pickle(std::string_view(bytes).substr(0, size), {}, budget), Error) << size;
  }
  EXPECT_EQ(budget.used(), 0);
}

// No flipped bit crashes, hangs or leaks.
TEST(ReadPickle, BitFlips) {
  const std::string bytes = read_data("pickles/metadata_moe_mtp.bin").substr(0, 600);
  MemoryBudget budget(kPlenty);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
    EXPECT_THROW(read_pickle(changed, {}, budget), Error);  // it stays cut short
    ASSERT_EQ(budget.used(), 0) << bit;
  }
}

// The fields of a Metadata object, watched as dcp_metadata does.
struct Watched {
  std::vector<std::string> tensors;
  int64_t items = 0;
  int64_t most_used = 0;
};

PickleOptions watch(Watched& seen, const MemoryBudget& budget, bool drop) {
  PickleOptions options;
  options.watched_dicts = {
      {"state_dict_metadata",
       [&, drop](const PickleValue& key, const PickleValue& value) {
         EXPECT_EQ(value->kind, NodeKind::kObject);
         seen.tensors.push_back(key->text);
         seen.most_used = std::max(seen.most_used, budget.used());
         return drop;
       }},
      {"storage_data", [&, drop](const PickleValue& key, const PickleValue& value) {
         EXPECT_TRUE(key->is_object_of("torch.distributed.checkpoint.metadata", "MetadataIndex"));
         EXPECT_EQ(value->get("relative_path")->kind, NodeKind::kString);
         ++seen.items;
         return drop;
       }}};
  return options;
}

TEST(ReadPickle, WatchedDicts) {
  const MemoryFile file("xx" + read_data("pickles/metadata_moe_mtp.bin") + "y");
  for (const bool drop : {false, true}) {
    MemoryBudget budget(kPlenty);
    Watched seen;
    const PickleValue top =
        read_pickle(file, 2, file.size() - 3, watch(seen, budget, drop), budget);
    EXPECT_EQ(std::ssize(seen.tensors), kTensorsInMetadata);
    EXPECT_EQ(seen.items, kItemsInMetadata);
    EXPECT_EQ(seen.tensors.front(), "embedding.word_embeddings.weight");
    EXPECT_TRUE(top->is_object_of("torch.distributed.checkpoint.metadata", "Metadata"));
    EXPECT_EQ(top->get("version")->text, "1.0.0");
    EXPECT_EQ(std::ssize(top->get("storage_data")->items), drop ? 0 : 2 * kItemsInMetadata);
  }
}

// A metadata pickle of n entries as CPython batches it.
std::string many_entries(int64_t n) {
  PickleWriter out(4);
  out.global("m", "M").empty_tuple().new_object().empty_dict().mark();
  out.string("state_dict_metadata").empty_dict();
  for (int64_t i = 0; i < n; ++i) {
    if (i % 1000 == 0) out.mark();
    out.string(fmt::format("tensor.{}", i));
    out.global("torch", "Size").mark().int_tuple({i, 2 * i, 3 * i}).tuple().reduce();
    if (i % 1000 == 999 || i == n - 1) out.set_items();
  }
  return out.set_items().build().finish();
}

TEST(ReadPickle, DroppedPairsCostFew) {
  int64_t seen = 0;
  const auto options = [&] {
    PickleOptions result;
    result.watched_dicts = {
        {"state_dict_metadata", [&](const PickleValue& key, const PickleValue&) {
           EXPECT_EQ(key->text, fmt::format("tensor.{}", seen));
           ++seen;
           return true;
         }}};
    return result;
  }();
  MemoryBudget budget(1 << 20);  // the tree would take some 14 MB
  read_pickle(many_entries(20'000), options, budget);
  EXPECT_EQ(seen, 20'000);
  MemoryBudget kept(1 << 20);
  EXPECT_THROW(read_pickle(many_entries(20'000), {}, kept), Error);
  EXPECT_EQ(kept.used(), 0);
}

// Pairs leave the stack before SETITEMS; a pickle that then takes them for something else is
// refused.
TEST(ReadPickle, WatchedPairsCannotBeTakenBack) {
  PickleOptions options;
  options.watched_dicts = {{"f", [](const PickleValue&, const PickleValue&) { return true; }}};
  const std::string begin(
      "\x80\x02"
      "cm\nM\n)\x81}(X\1\0\0\0f}(",
      19);
  std::string items;
  for (int i = 0; i < 20; ++i) items += "K\1K\2";
  EXPECT_EQ(decoded(begin + items + "uub.", options), "object(<m M> () {'f' {}})");
  MemoryBudget budget(kPlenty);
  for (const char* end : {"tuub.", "1uub.", "K\1eub."}) {
    EXPECT_THROW(read_pickle(begin + items + end, options, budget), Error) << end;
  }
  std::string pops;
  for (int i = 0; i < 40; ++i) pops += "0";
  EXPECT_THROW(read_pickle(begin + items + pops + "uub.", options, budget), Error);
  EXPECT_EQ(budget.used(), 0);
}

// A field of the same name that is not a field of the top object is not watched.
TEST(ReadPickle, WatchesOnlyTheTopObject) {
  const auto field = [](PickleWriter& out) {
    out.string("f").empty_dict().mark().integer(1).integer(2).set_items();
  };
  PickleOptions options;
  int64_t seen = 0;
  options.watched_dicts = {{"f", [&](const PickleValue&, const PickleValue&) {
                              ++seen;
                              return true;
                            }}};
  PickleWriter inner(4);
  inner.global("m", "M").empty_tuple().new_object().empty_dict().mark().string("x");
  inner.global("m", "N").empty_tuple().new_object().empty_dict().mark();
  field(inner);
  inner.set_items().build().set_items().build();
  EXPECT_EQ(decoded(inner.finish(), options),
            "object(<m M> () {'x' object(<m N> () {'f' {1 2}})})");
  EXPECT_EQ(seen, 0);
  PickleWriter outer(4);
  outer.global("m", "M").empty_tuple().new_object().empty_dict().mark();
  outer.string("a").integer(1);
  field(outer);
  EXPECT_EQ(decoded(outer.set_items().build().finish(), options),
            "object(<m M> () {'a' 1 'f' {}})");
  EXPECT_EQ(seen, 1);
}

TEST(ReadPickle, ErrorsOfASinkPassThrough) {
  PickleOptions options;
  options.watched_dicts = {
      {"state_dict_metadata",
       [](const PickleValue&, const PickleValue&) -> bool { bad_input("the sink says no"); }}};
  MemoryBudget budget(kPlenty);
  try {
    read_pickle(many_entries(3), options, budget);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.message(), "the sink says no");
  }
  EXPECT_EQ(budget.used(), 0);
}

TEST(PickleWriter, IntegersAsCPython) {
  const std::pair<int64_t, const char*> cases[] = {
      {0, "4b00"},
      {255, "4bff"},
      {256, "4d0001"},
      {65535, "4dffff"},
      {65536, "4a00000100"},
      {-1, "4affffffff"},
      {-128, "4a80ffffff"},
      {2147483647, "4affffff7f"},
      {-2147483648, "4a00000080"},
      {2147483648, "8a050000008000"},
      {-2147483649, "8a05ffffff7fff"},
      {int64_t{1} << 32, "8a050000000001"},
      {int64_t{1} << 39, "8a06000000008000"},
      {-(int64_t{1} << 39), "8a050000000080"},
      {INT64_MAX, "8a08ffffffffffffff7f"},
      {INT64_MIN, "8a080000000000000080"},
  };
  for (const auto& [value, hex] : cases) {
    const std::string bytes = PickleWriter(2).integer(value).finish();
    EXPECT_EQ(bytes, unhex("8002" + std::string(hex) + "2e")) << value;
    EXPECT_EQ(decoded(bytes), std::to_string(value));
  }
}

TEST(PickleWriter, BytesAsCPython) {
  EXPECT_EQ(PickleWriter(2).real(1.5).finish(), unhex("8002473ff80000000000002e"));
  EXPECT_EQ(PickleWriter(4).string(std::string(255, 'x')).finish(),
            "\x80\x04\x8c\xff" + std::string(255, 'x') + ".");
  EXPECT_EQ(PickleWriter(4).string(std::string(256, 'x')).finish(),
            std::string("\x80\x04X\x00\x01\x00\x00", 7) + std::string(256, 'x') + ".");
  EXPECT_EQ(PickleWriter(2).empty_list().none().finish(), unhex("80025d4e2e"));
  // Twice the same global: GLOBAL and BINPUT, then BINGET; in protocol 4 through the stack.
  EXPECT_EQ(PickleWriter(2).global("m", "A").global("n", "B").global("m", "A").finish(),
            unhex("8002636d0a410a7100636e0a420a710168002e"));
  EXPECT_EQ(PickleWriter(4).global("m", "A").global("m", "A").finish(),
            unhex("80048c016d8c0141939468002e"));
}

TEST(PickleWriter, RoundTrip) {
  for (const int protocol : {2, 4}) {
    PickleWriter out(protocol);
    out.empty_dict().mark();
    out.string("list").empty_list().mark().boolean(true).none().real(-0.5).appends();
    out.string("shape").int_tuple({1, 2, 3, 4}).integer(7).int_tuple({});
    out.string("object").global("m", "C").empty_tuple().new_object();
    out.empty_dict().mark().string("x").int_tuple({9}).set_items().build();
    out.string("call").global("m", "f").mark().integer(1).integer(2).tuple().reduce();
    out.string("id").string("s").persistent_id();
    std::string bytes = out.take();
    bytes += out.set_items().finish();
    EXPECT_EQ(decoded(bytes),
              "{'list' [True None -0.5] 'shape' (1 2 3 4) 7 () 'object' object(<m C> () {'x' (9)}) "
              "'call' object(<m f> (1 2)) 'id' persistent('s')}");
  }
}

// More than 256 globals need the long memo opcodes.
TEST(PickleWriter, ManyGlobals) {
  for (const int protocol : {2, 4}) {
    PickleWriter out(protocol);
    out.empty_list().mark();
    for (int i = 0; i < 300; ++i) out.global("m", fmt::format("C{}", i));
    out.global("m", "C299").global("m", "C0");
    MemoryBudget budget(kPlenty);
    const PickleValue list = read_pickle(out.appends().finish(), {}, budget);
    ASSERT_EQ(list->items.size(), 302u);
    EXPECT_TRUE(list->items[299]->is_class("m", "C299"));
    EXPECT_TRUE(list->items[300]->is_class("m", "C299"));
    EXPECT_TRUE(list->items[301]->is_class("m", "C0"));
  }
}

}  // namespace
}  // namespace bridge
