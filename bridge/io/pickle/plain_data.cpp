#include "bridge/io/pickle/plain_data.h"

#include <optional>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/expansion_limit.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

// Returns nullopt for a node that is not plain data: enumerations, functions, types.
std::optional<Json> plain(const PickleNode& node, ExpansionLimit& limit) {
  limit.add(node.kind == PickleNode::Kind::kString ? node.text.size() : 0);
  switch (node.kind) {
    case PickleNode::Kind::kNone:
      return Json();
    case PickleNode::Kind::kBool:
      return Json(node.boolean);
    case PickleNode::Kind::kInt:
      return Json(node.integer);
    case PickleNode::Kind::kReal:
      return Json(node.real);
    case PickleNode::Kind::kString:
      return Json(node.text);
    case PickleNode::Kind::kList:
    case PickleNode::Kind::kTuple: {
      Json list = Json::array();
      for (const PickleValue& item : node.items) {
        std::optional<Json> value = plain(*item, limit);
        if (!value) return std::nullopt;
        list.push_back(*std::move(value));
      }
      return list;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

Json plain_attributes(const PickleNode& object, size_t most) {
  Json out = Json::object();
  // A Namespace is an object whose state is a dict.
  const PickleNode* state = &object;
  if (object.kind == PickleNode::Kind::kObject && object.items.size() > 2) {
    state = object.items[2].get();
  }
  if (state->kind != PickleNode::Kind::kDict) bad_input("args are no Namespace");
  if (state->items.size() / 2 > most) bad_input("too many args");
  ExpansionLimit limit;
  for (size_t i = 0; i + 1 < state->items.size(); i += 2) {
    const PickleNode& key = *state->items[i];
    if (key.kind != PickleNode::Kind::kString) continue;
    if (std::optional<Json> value = plain(*state->items[i + 1], limit)) {
      out[key.text] = *std::move(value);
    }
  }
  return out;
}

}  // namespace bridge
