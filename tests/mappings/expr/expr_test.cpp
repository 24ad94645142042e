// Tests the expression language: precedence, absence, exact arithmetic, and refusals.
#include "mappings/expr/expr.h"

#include <gtest/gtest.h>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

const char* const kConfig = R"({
  "hidden_size": 4096, "num_attention_heads": 32, "nothing": null, "tie": true, "eps": 1e-05,
  "act": "silu", "zero": 0, "big": 18446744073709551615, "small": -9223372036854775808,
  "half": 0.5, "four": 4.0,
  "rope_parameters": {"rope_theta": 500000.0, "inner": {"x": 7}},
  "layer_types": ["a", "b", "c"], "lists": [[1], [2]]
})";

class ExprTest : public ::testing::Test {
 protected:
  Json eval(const std::string& text) {
    const Scope scope{&config_, {{"l", 2}, {"layers", 3}, {"hidden_size_twice", 8192}}};
    return Expr::parse(text).evaluate(scope);
  }
  std::string error(const std::string& text) {
    try {
      const Json value = eval(text);
      return "no error: " + value.dump();
    } catch (const bridge::Error& e) {
      EXPECT_EQ(e.code(), bridge::Code::kBadInput) << text;
      return e.message();
    }
  }
  Json config_ = Json::parse(kConfig);
};

TEST_F(ExprTest, Values) {
  const std::pair<const char*, const char*> kCases[] = {
      // expression, its value as JSON
      {"1", "1"},
      {"1e-6", "1e-06"},
      {"'text'", "\"text\""},
      {"''", "\"\""},
      {"null", "null"},
      {"[]", "[]"},
      {"[1, 'a', true, null]", "[1,\"a\",true,null]"},
      {"hidden_size / num_attention_heads", "128"},
      {"head_dim ?? hidden_size / num_attention_heads", "128"},
      {"nothing ?? 3", "3"},
      {"zero ?? 3", "0"},
      {"rope_parameters.rope_theta ?? rope_theta ?? 10000.0", "500000.0"},
      {"other.rope_theta ?? rope_theta ?? 10000.0", "10000.0"},
      {"nothing.a.b ?? 1", "1"},
      {"a.b[3].c ?? 1", "1"},
      {"rope_parameters.inner.x", "7"},
      {"act ?? 'silu' == 'silu'", "true"},
      {"absent ?? 'gelu' == 'silu'", "false"},
      {"absent ?? false || tie", "true"},
      {"!tie", "false"},
      {"!absent", "true"},
      {"!!tie && !nothing", "true"},
      {"zero || half", "true"},
      {"1 + 2 * 3 - 4", "3"},
      {"(1 + 2) * 3", "9"},
      {"8 - 3 - 2", "3"},
      {"64 / 4 / 2", "8"},
      {"7 % 4", "3"},
      {"-7 + 2", "-5"},
      {"- -2", "2"},
      {"2 - -2", "4"},
      {"7 / 2.0", "3.5"},
      {"1 / 4.0 + 1", "1.25"},
      {"l >= 2", "true"},
      {"l + layers", "5"},
      {"l < 2 == false", "?"},
      {"layer_types[l]", "\"c\""},
      {"layer_types[l] == 'c' && layer_types[0] != 'c'", "true"},
      {"layer_types[3] ?? 'none'", "\"none\""},
      {"1 == 1.0", "true"},
      {"four == 4", "true"},
      {"'1' == 1", "false"},
      {"nothing == null", "true"},
      {"absent == null", "true"},
      {"absent != null", "false"},
      {"act != null", "true"},
      {"tie ? 1 : absent", "1"},
      {"zero ? absent : 2", "2"},
      {"l == 0 ? 'a' : l == 1 ? 'b' : 'c'", "\"c\""},
      {"[0] * 2 + [1] * (layers - 2)", "[0,0,1]"},
      {"[0] * 0", "[]"},
      {"true && false || true", "true"},
      {"true || false && false", "true"},
      {"1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3", "true"},
      {"hidden_size_twice", "8192"},
      {"count('b', layer_types)", "1"},
      {"count(1, [1, 2, 1.0, '1']) + 1", "3"},
      {"count(l == 2, [true, false, true])", "2"},
      {"ln(1)", "0.0"},
      {"ln(4.0) / ln(2)", "2.0"},
      {"1 / sqrt(256)", "0.0625"},
      {"sqrt(0)", "0.0"},
      {"round(2.5) + round(7)", "10"},
      {"length(layer_types) + length(letters(act))", "7"},
      {"length(rope_parameters)", "2"},
      {"length([])", "0"},
      {"letters('M*-')", "[\"M\",\"*\",\"-\"]"},
      {"letters('')", "[]"},
      {"join(['M', '*'] + ['/', 'E'] * 2)", "\"M*/E/E\""},
      {"join([])", "\"\""},
      {"ends_with(act, 'lu')", "true"},
      {"ends_with('lu', act) || ends_with(act, 'Lu')", "false"},
      {"ends_with(act, '')", "true"},
      {"round(-1.4)", "-1"},
      {"[1, 2][ln(1) == 0 ? 1 : 0]", "2"},
      {"2 in [1, 2]", "true"},
      {"2.0 in [1, 2]", "true"},
      {"'2' in [1, 2]", "false"},
      {"nothing in [null]", "true"},
      {"l in []", "false"},
      {"'b' in layer_types", "true"},
      {"!(l in [2])", "false"},
      {"l + 1 in [3] && true", "true"},
      {"lists[1] == [2]", "true"},
      {"index ?? 1", "1"},
      {"[formula ?? 1]", "[1]"},
      {"[i * i for i in 4]", "[0,1,4,9]"},
      {"[i for i in 0]", "[]"},
      {"[l + i for i in layers]", "[2,3,4]"},
      {"[l for l in 2]", "[0,1]"},
      {"[layer_types[i] for i in 2] + ['z']", "[\"a\",\"b\",\"z\"]"},
      {"[i in [1] || i == 2 ? 0 : 1 for i in 4]", "[1,0,0,1]"},
      {"[i for i in 6 if i % 2 == 1]", "[1,3,5]"},
      {"[10 * i for i in 3 if l > 5]", "[]"},
  };
  for (const auto& [text, expected] : kCases) {
    if (std::string(expected) == "?") continue;
    EXPECT_EQ(eval(text).dump(), expected) << text;
  }
}

TEST_F(ExprTest, VariablesHideConfiguration) {
  const Scope scope{&config_, {{"hidden_size", 1}, {"hidden_size", 2}}};
  EXPECT_EQ(Expr::parse("hidden_size").evaluate(scope), 2);
}

TEST_F(ExprTest, Typed) {
  const Scope scope{&config_, {}};
  EXPECT_EQ(Expr::parse("four").evaluate_int(scope), 4);
  EXPECT_EQ(Expr::parse("small").evaluate_int(scope), INT64_MIN);
  EXPECT_TRUE(Expr().evaluate_bool(scope));
  EXPECT_FALSE(Expr::parse("absent").evaluate_bool(scope));
  EXPECT_FALSE(Expr::parse("nothing").evaluate_bool(scope));
  EXPECT_TRUE(Expr::parse("half").evaluate_bool(scope));
  for (const char* text : {"half", "act", "tie", "big", "nothing", "1e300"}) {
    EXPECT_THROW(Expr::parse(text).evaluate_int(scope), bridge::Error) << text;
  }
  EXPECT_THROW(Expr::parse("act").evaluate_bool(scope), bridge::Error);
}

TEST_F(ExprTest, Refused) {
  const std::pair<const char*, const char*> kCases[] = {
      // expression, part of the message
      {"", "a value is missing at column 1"},
      {"1 +", "a value is missing"},
      {"1 2", "unexpected text at column 3"},
      {"(1", "')' expected"},
      {"[1", "']' expected"},
      {"[1,]", "a value expected"},
      {"'abc", "without a closing quote"},
      {"a.", "a name expected"},
      {"a ? 1", "':' expected"},
      {"1 < 2 < 3", "needs parentheses"},
      {"l < 2 == false", "needs parentheses"},
      {"1x", "malformed number"},
      {"1e", "malformed number"},
      {"1e999", "malformed number"},
      {"9223372036854775808", "out of range"},
      {"@", "a value expected"},
      {"a = 1", "unexpected text"},
      {"f(1)", "unexpected text"},
      {"a; b", "unexpected text"},
      {"absent", "absent is missing"},
      {"absent + 1", "absent is missing"},
      {"absent.x", "absent.x is missing"},
      {"absent == 1", "absent is missing"},
      {"absent < 1", "absent is missing"},
      {"-absent", "absent is missing"},
      {"nothing + 1", "null is not a number"},
      {"act * 2", "\"silu\" is not a number"},
      {"act < 2", "is not a number"},
      {"act && true", "neither true nor false"},
      {"act.x", "is no object"},
      {"hidden_size[0]", "is no list"},
      {"layer_types['a']", "is not an integer"},
      {"layer_types[-1]", "entry -1 of a list of 3 is missing"},
      {"7 / 2", "7 is not a multiple of 2"},
      {"1 / 0", "division by zero"},
      {"1 % 0", "division by zero"},
      {"1 / 0.0", "division by zero"},
      {"1e308 * 10", "not finite"},
      {"small - 1", "overflow"},
      {"-small", "overflow"},
      {"small / -1", "overflow"},
      {"small * 2", "overflow"},
      {"big + 1", "out of range"},
      {"[0] * 100001", "list longer than 100000"},
      {"[0] * -1", "repeated -1 times"},
      {"[layer_types]", "scalars only"},
      {"lists * 2", "only lists of scalars"},
      {"[0] * 60000 + [0] * 60000", "list longer than"},
      {"2 in 3", "'in' of 3, which is no list"},
      {"2 in nothing", "'in' of null"},
      {"absent in [1]", "absent is missing"},
      {"1 in absent", "absent is missing"},
      {"1 in [1] in [2]", "needs parentheses"},
      {"1 in", "a value is missing"},
      {"count(1, 3)", "'count' of 3, which is no list"},
      {"ln(0)", "'ln' of 0, which is not positive"},
      {"ln(-1.5)", "'ln' of -1.5, which is not positive"},
      {"ln('a')", "is not a number"},
      {"sqrt(-1)", "'sqrt' of -1, which is negative"},
      {"round(1e17)", "'round' of 1e+17"},
      {"round('a')", "is not a number"},
      {"length(7)", "'length' of 7, which has no entries"},
      {"length(nothing)", "'length' of null"},
      {"length(absent)", "absent is missing"},
      {"length(act)", "which has no entries"},
      {"act[0]", "which is no list"},
      {"letters('\xc3\xa9')", "'letters' of \"\u00e9\", which is not ASCII"},
      {"letters(layer_types)", "which is no text"},
      {"letters(absent)", "absent is missing"},
      {"join('ab')", "'join' of \"ab\", which is no list"},
      {"join([1])", "'join' of 1, which is no text"},
      {"ends_with(act)", "',' expected"},
      {"ends_with(1, 'a')", "'ends_with' of 1, which is no text"},
      {"ends_with(act, nothing)", "'ends_with' of null"},
      {"ln(absent)", "absent is missing"},
      {"ln(1", "')' expected"},
      {"count(1, absent)", "absent is missing"},
      {"count(absent, [1])", "absent is missing"},
      {"count(1)", "',' expected"},
      {"count(1, [1]", "')' expected"},
      {"count(, [1])", "a value expected"},
      {"count", "count is missing"},
      {"[i for i in -1]", "a list of -1 entries (0 to 100000)"},
      {"[i for i in 100001]", "a list of 100001 entries"},
      {"[i for i in 2.0]", "a list of 2.0 entries"},
      {"[i for i in big]", "out of range"},
      {"[i for i in absent]", "absent is missing"},
      {"[[i] for i in 2]", "scalars only"},
      {"[absent for i in 1]", "absent is missing"},
      {"[i for i of 2]", "'in' expected"},
      {"[i for i in 2 if]", "a value expected"},
      {"[i for i in 2 if 'a']", "\"a\" is neither true nor false"},
      {"[i if i for i in 2]", "']' expected"},
      {"[i for 3 in 2]", "a name expected"},
      {"[i for i in 2, 3]", "']' expected"},
      {"[1, i for i in 2]", "']' expected"},
      {"[0 for i in 2][1]", "no error: 0"},
      {"[[i for i in 2] for j in 2]", "a second 'for'"},
      {"[i for i in 2] + [j for j in 2]", "a second 'for'"},
  };
  for (const auto& [text, expected] : kCases) {
    EXPECT_NE(error(text).find(expected), std::string::npos) << text << " -> " << error(text);
  }
}

TEST_F(ExprTest, HostileTextIsBounded) {
  EXPECT_NE(error(std::string(5000, '1')).find("expression of 5000 bytes"), std::string::npos);
  for (const char* open : {"(", "[", "!", "-", "a[", "1 ?", "a ?? "}) {
    std::string text;
    while (text.size() + 8 < 4096) text += open;
    EXPECT_NE(error(text).find("nesting"), std::string::npos) << open << error(text);
  }
  std::string chain = "1";
  while (chain.size() + 2 < 4096) chain += "+1";
  EXPECT_NE(error(chain).find("nesting deeper than 64"), std::string::npos);
}

TEST(Expr, KnowsTheNamesThatItUses) {
  const Expr expr = Expr::parse("a.b ?? [c[i] + 1 for i in n if d] == e ? 'f' : -g");
  for (const char* name : {"a", "c", "n", "d", "e", "g"}) EXPECT_TRUE(expr.uses(name)) << name;
  for (const char* name : {"b", "f", "h"}) EXPECT_FALSE(expr.uses(name)) << name;
  EXPECT_FALSE(Expr().uses("a"));
}

}  // namespace
}  // namespace mappings
