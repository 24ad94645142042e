#include "mappings/binding/notice_text.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/table/pattern.h"

namespace mappings {

std::string notice_text(const Notice& notice, const Scope& scope) {
  return fill_pattern(split_pattern(notice.text), [&](const std::string& expression) {
    const Json value = Expr::parse("(" + expression + ") ?? null").evaluate(scope);
    return bridge::printable(value.is_string()
                                 ? value.get<std::string>()
                                 : value.dump(-1, ' ', false, Json::error_handler_t::replace));
  });
}

void refuse_if_it_holds(const Notice& notice, const Scope& scope) {
  const bool holds =
      bridge::with_context(kConfigFile, [&] { return notice.when.evaluate_bool(scope); });
  if (holds) {
    bridge::unsupported(fmt::format("{}: {}", kConfigFile, notice_text(notice, scope)));
  }
}

}  // namespace mappings
