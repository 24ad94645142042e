// Tests fragments and row groups: what a table that uses them stands for, the lines that messages
// name, and refusals.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "mappings/table/embedded.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "mappings/table/table_text.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

constexpr EmbeddedText kFragments[] = {
    {"base.jsonc", R"({
  "values": {"first": "1", "second": "first + 1"},
  "dims": {"layers": "num_hidden_layers", "hidden": "hidden_size"},
  "dialects": [{"P": "model."}],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers"},
    "mtp": {"megatron": "mtp.layers.{l}", "hf": "mtp.{l}", "count": "1"}
  },
  "rows": [
    ["embedding.weight", "copy", "{P}embed.weight [hidden]"]
  ],
  "refuse": [["act != 'silu'", "from the fragment"]],
  "megatron_config": {"a": "1", "b": "2"},
  "hf_config": [["k", "a"]]
})"},
    {"layer.jsonc", R"({
  // A row on line 4, a group below it.
  "rows": [
    ["{L}.norm.weight", "copy", "{H}.norm.weight [hidden]", {"when": "l > 0 || l < 0"}],
    {"keep": "F32", "rows": [
      ["{L}.bias", "copy", "{H}.bias [hidden]"],
      ["head.bias", "copy", "{P}head_bias [hidden]"]
    ]}
  ],
  "drop": [["{H}.old", "unused"]],
  "extra_state": ["{L}.norm", "head"]
})"},
    {"nested.jsonc", R"({"use": ["base"], "rows": []})"},
    {"named.jsonc", R"({"architectures": ["X"], "rows": []})"},
    {"again.jsonc", R"({"megatron_config": {"b": "3"}})"},
    {"spelled.jsonc", R"({"dialects": [{"P": ""}]})"},
};

std::string table_with(const std::string& body) {
  return "{\"architectures\": [\"TestForCausalLM\"], " + body + "}";
}

Table parse(const std::string& body) {
  return parse_table(table_with(body), "own.jsonc", kFragments);
}

std::string refusal(const std::string& body) {
  return bridge::refusal_of([&] { parse(body); }, bridge::Code::kBadInput);
}

TEST(Fragments, ListsAreJoinedAndOwnMembersWinInPlace) {
  const Table table = parse(R"("use": ["base"],
    "values": {"second": "first + 10", "third": "second"},
    "rows": [["own.weight", "copy", "own [hidden]"]],
    "refuse": [["false", "own"]],
    "megatron_config": {"a": "7", "c": "3"},
    "hf_config": [[["x.k", "k"], "b", {"when": "a > 0"}]])");
  ASSERT_EQ(table.hf_config.size(), 2U);
  EXPECT_EQ(table.hf_config[0].place.text(), "line 14 of common/base.jsonc");
  EXPECT_EQ(table.hf_config[1].keys, (std::vector<std::string>{"x.k", "k"}));
  EXPECT_EQ(table.hf_config[1].place.fragment, "");
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].megatron, "embedding.weight");
  EXPECT_EQ(table.rows[0].place.text(), "line 10 of common/base.jsonc");
  EXPECT_EQ(table.rows[1].megatron, "own.weight");
  EXPECT_EQ(table.rows[1].place.text(), "line 3");
  EXPECT_EQ(table.refuse[0].text, "from the fragment");
  EXPECT_EQ(table.refuse[1].text, "own");
  ASSERT_EQ(table.values.size(), 3u);
  EXPECT_EQ(table.values[1].first, "second");
  EXPECT_EQ(table.values[1].second.text(), "first + 10");
  ASSERT_EQ(table.megatron_config.size(), 3u);
  EXPECT_EQ(table.megatron_config[0].name, "a");
  EXPECT_EQ(table.megatron_config[0].value.text(), "7");
  EXPECT_EQ(table.megatron_config[0].place.text(), "line 5");
  EXPECT_EQ(table.megatron_config[1].place.text(), "line 13 of common/base.jsonc");
}

TEST(Fragments, OwnListsStandWhereUseSaysSo) {
  const Table table = parse(R"("use": ["...", "base"],
    "values": {"first": "2"},
    "rows": [["own.weight", "copy", "own [hidden]"]])");
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].megatron, "own.weight");
  EXPECT_EQ(table.rows[1].megatron, "embedding.weight");
  EXPECT_EQ(table.values[0].second.text(), "2");
}

TEST(Fragments, OtherKeysAreTheTablesOwnElseTheFragments) {
  EXPECT_EQ(parse(R"("use": ["base"])").dialects[0][0].second, "model.");
  EXPECT_EQ(parse(R"("use": ["base"], "dialects": [{"P": "x."}])").dialects[0][0].second, "x.");
}

TEST(Fragments, AUseSaysFamilyAndCondition) {
  const Table table = parse(
      R"("use": ["base", {"fragment": "layer", "family": ["decoder", "mtp"], "when": "tied"}])");
  ASSERT_EQ(table.rows.size(), 6u);  // the norm and the bias of two families, the head of none
  EXPECT_EQ(table.rows[1].family, "decoder");
  EXPECT_EQ(table.rows[2].family, "mtp");
  EXPECT_EQ(table.rows[1].when.text(), "tied && (l > 0 || l < 0)");
  EXPECT_EQ(table.rows[1].place.text(), "line 4 of common/layer.jsonc");
  EXPECT_EQ(table.rows[3].megatron, "{L}.bias");
  EXPECT_EQ(table.rows[3].when.text(), "tied");
  EXPECT_EQ(table.rows[3].place.line, 6);
  EXPECT_TRUE(table.rows[3].keep.has_value());
  EXPECT_FALSE(table.rows[1].keep.has_value());
  EXPECT_EQ(table.rows[5].family, "");
  EXPECT_EQ(table.drops[1].family, "mtp");
  ASSERT_EQ(table.extra_state.size(), 3u);
  EXPECT_EQ(table.extra_state[0].when.text(), "tied");
  EXPECT_EQ(table.extra_state[2].module, "head");
}

TEST(Groups, GiveTheirOptionsToEachElement) {
  const Table table = parse(R"("use": ["base"], "rows": [
    {"family": "decoder", "when": "l ?? 0 > 1", "keep": "F32", "rows": [
      ["{L}.a", "copy", "{H}.a [hidden]"],

      ["{L}.b", "copy", "{H}.b [hidden]", {"family": "mtp", "keep": "BF16", "when": "l < 5 ? true : false"}]
    ]}],
    "drop": [{"family": "mtp", "drop": [["{H}.c", "unused"]]}],
    "extra_state": [{"family": "mtp", "extra_state": ["{L}.a", ["{L}.b", {"when": "tied"}]]}])");
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(table.rows[1].family, "decoder");
  EXPECT_EQ(table.rows[1].when.text(), "l ?? 0 > 1");
  EXPECT_EQ(table.rows[1].keep, bridge::Dtype::kF32);
  EXPECT_EQ(table.rows[1].place.line, 3);
  EXPECT_EQ(table.rows[2].family, "mtp");
  EXPECT_EQ(table.rows[2].when.text(), "l ?? 0 > 1 && (l < 5 ? true : false)");
  EXPECT_EQ(table.rows[2].keep, bridge::Dtype::kBF16);
  EXPECT_EQ(table.rows[2].place.line, 5);
  EXPECT_EQ(table.drops[0].family, "mtp");
  EXPECT_EQ(table.extra_state[1].when.text(), "tied");
}

TEST(Fragments, AreRefusedWithThePlace) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"("use": ["none"])", "own.jsonc: 'use': unknown fragment 'none'"},
      {R"("use": ["../base"])", "unknown fragment '../base'"},
      {R"("use": "base")", "own.jsonc: 'use' must be a list of fragments"},
      {R"("use": ["...", "base", "..."])", "'use' has '...' 2 times"},
      {R"("use": [{"fragment": "..."}])", "unknown fragment '...'"},
      {R"("use": [1])", "a fragment must be a string"},
      {R"("use": [{"fragment": "base", "keep": "F32"}])", "unknown key 'keep'"},
      {R"("use": [{"family": "decoder"}])", "unknown fragment ''"},
      {R"("use": ["nested"])", "common/nested.jsonc: a fragment has no 'use'"},
      {R"("use": ["named"])", "common/named.jsonc: a fragment has no 'architectures'"},
      {R"("use": ["base", "again"])",
       "megatron_config 'b' at line 1 of common/again.jsonc is in another fragment already (line "
       "13 "
       "of common/base.jsonc)"},
      {R"("use": ["base", "again"], "megatron_config": {"b": "4"})", "in another fragment already"},
      {R"("use": ["base", "spelled"])",
       "'dialects' at line 1 of common/spelled.jsonc is in another"},
      {R"("use": ["base", {"fragment": "layer", "family": "none"}])",
       "own.jsonc: row at line 4 of common/layer.jsonc: unknown family 'none'"},
      {R"("use": ["base", {"fragment": "layer", "family": "decoder", "when": "1 +"}])",
       "rows at line 4 of common/layer.jsonc: "},
      {R"("use": ["base"], "rows": [{"family": "decoder"}])", "rows at line 1: a group is"},
      {R"("use": ["base"], "rows": [{"family": "decoder", "rows": {}}])", "a group is"},
      {R"("use": ["base"], "rows": [{"rows": [{"rows": [["a", "copy", "b [hidden]"]]}]}])",
       "row at line 1: a row is [megatron, op, hf, {options}]"},
      {R"("use": ["base"], "rows": [{"rwos": "x", "rows": [["a", "copy", "b [hidden]"]]}])",
       "row at line 1: unknown key 'rwos'"},
      {R"("use": ["base"], "rows": [{"when": "tied", "rows": [["a", "copy", "b [hidden]", {"when": "x) || (y"}]]}])",
       "rows at line 1: "},
      {R"("use": ["base"], "rows": 5)", "'rows' must be a list"},
      {R"("use": ["base"], "dims": [])", "'dims' must be an object"},
      {R"("use": ["base"], "refuse": [{"refuse": []}])", "a notice is [condition, text]"},
  };
  for (const auto& [body, message] : kCases) {
    EXPECT_NE(refusal(body).find(message), std::string::npos) << body << "\n" << refusal(body);
  }
}

TEST(Fragments, HostileTablesAreBounded) {
  std::string uses = R"("use": [)";
  for (int i = 0; i < 65; ++i) uses += i == 0 ? "\"base\"" : ", \"base\"";
  EXPECT_NE(refusal(uses + "]").find("'use' names 65 fragments (at most 64)"), std::string::npos);
  std::string rows;
  for (int i = 0; i < 4097; ++i) {
    rows +=
        (i == 0 ? "" : ", ") + std::string(R"(["a)") + std::to_string(i) + R"(", "copy", "b [1]"])";
  }
  EXPECT_NE(refusal(R"("rows": [{"rows": [)" + rows + "]}]").find("4097 elements (at most 4096)"),
            std::string::npos);
  std::string keys;
  for (int i = 0; i < 200'000; ++i) keys += ", \"k" + std::to_string(i) + "\": 1";
  EXPECT_NE(refusal(keys.substr(2)).find("unknown key 'k0'"), std::string::npos);
  EXPECT_NE(refusal(R"("rows": [{"rows": [["a", "copy", "b [1]"]])" + keys + "}]")
                .find("a group has 200001 options (at most 32)"),
            std::string::npos);
  const std::string condition = "tied" + std::string(4000, ' ');
  EXPECT_NE(refusal(R"("rows": [{"when": ")" + condition + R"(", "rows": [)" +
                    rows.substr(0, rows.find(", [\"a4000\"")) + "]}]")
                .find("groups add more than 1048576 bytes"),
            std::string::npos);
}

TEST(BuiltinTables, HeadsAreWhatTheTablesSay) {
  ASSERT_EQ(builtin_heads().size(), builtin_tables().size());
  for (size_t i = 0; i < builtin_heads().size(); ++i) {
    const Table& table = *builtin_tables()[i];
    const NamedHead& head = builtin_heads()[i];
    EXPECT_EQ(head.file, table.file);
    EXPECT_EQ(head.head.architectures, table.architectures) << table.file;
    EXPECT_EQ(head.head.model_types, table.model_types) << table.file;
    EXPECT_EQ(head.head.about.models, table.about.models) << table.file;
    EXPECT_EQ(head.head.about.quantized, table.about.quantized) << table.file;
    EXPECT_EQ(head.head.about.mtp, table.about.mtp) << table.file;
    EXPECT_EQ(head.head.about.checked, table.about.checked) << table.file;
    EXPECT_FALSE(table.about.models.empty()) << table.file;
    ASSERT_EQ(head.head.not_served.size(), table.not_served.size()) << table.file;
    for (size_t j = 0; j < table.not_served.size(); ++j) {
      EXPECT_EQ(head.head.not_served[j].name, table.not_served[j].name);
      EXPECT_EQ(head.head.not_served[j].text, table.not_served[j].text);
      EXPECT_EQ(head.head.not_served[j].remedy, table.not_served[j].remedy);
    }
  }
}

// The id of a conversion depends on the hash.
TEST(Fragments, AreInTheHashOfATable) {
  const std::string text = table_with(R"("use": ["base"])");
  const Table table = parse_table(text, "own.jsonc", kFragments);
  std::vector<EmbeddedText> changed(std::begin(kFragments), std::end(kFragments));
  std::string base(changed[0].text);
  base.replace(base.find("\"b\": \"2\""), 8, "\"b\": \"3\"");
  changed[0].text = base;
  EXPECT_NE(parse_table(text, "own.jsonc", changed).sha256, table.sha256);
  EXPECT_EQ(parse_table("// A comment.\n" + text, "other.jsonc", kFragments).sha256, table.sha256);
  EXPECT_EQ(parse(R"("use": ["base"], "megatron_config": {"a": "1"})").sha256, table.sha256);
  EXPECT_EQ(parse(R"("about": {"models": "Test", "mtp": "none"}, "use": ["base"])").sha256,
            table.sha256);
  EXPECT_EQ(table.sha256.size(), 64u);
}

// Nothing would check a fragment that no table uses.
TEST(BuiltinTables, UseEveryFragment) {
  for (const EmbeddedText& fragment : embedded_fragments()) {
    const std::string name =
        '"' + std::string(fragment.file.substr(0, fragment.file.find('.'))) + '"';
    const auto uses = [&](const EmbeddedText& table) {
      const size_t begin = table.text.find("\"use\"");
      return table.text.substr(begin, table.text.find("\n\n", begin) - begin).find(name) !=
             std::string_view::npos;
    };
    EXPECT_TRUE(std::any_of(embedded_tables().begin(), embedded_tables().end(), uses)) << name;
  }
}

TEST(BuiltinTables, StandForSelfContainedOnes) {
  for (const EmbeddedText& source : embedded_tables()) {
    const std::string text = self_contained_text(source.text, source.file);
    EXPECT_EQ(self_contained_text(text, source.file), text);
    const Table full = parse_table(text, std::string(source.file), {});
    const Table table = parse_table(source.text, std::string(source.file));
    ASSERT_EQ(full.rows.size(), table.rows.size());
    for (size_t i = 0; i < full.rows.size(); ++i) {
      EXPECT_EQ(full.rows[i].megatron, table.rows[i].megatron);
      EXPECT_EQ(full.rows[i].when.text(), table.rows[i].when.text());
      EXPECT_EQ(full.rows[i].family, table.rows[i].family);
    }
    EXPECT_EQ(full.megatron_config.size(), table.megatron_config.size());
    EXPECT_EQ(full.sha256, table.sha256);
    EXPECT_FALSE(table.hf_config.empty());
    ASSERT_EQ(full.hf_config.size(), table.hf_config.size());
    for (size_t i = 0; i < full.hf_config.size(); ++i) {
      EXPECT_EQ(full.hf_config[i].keys, table.hf_config[i].keys);
      EXPECT_EQ(full.hf_config[i].value.text(), table.hf_config[i].value.text());
      EXPECT_EQ(full.hf_config[i].when.text(), table.hf_config[i].when.text());
    }
  }
}

}  // namespace
}  // namespace mappings
