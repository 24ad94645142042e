#include "mappings/table/notice.h"

#include "bridge/io/base/error.h"
#include "mappings/table/table_json.h"

namespace mappings {

using bridge::bad_input;

Notice notice_of(const Json& json, const Place& place) {
  if (!json.is_array() || json.size() != 2) bad_input("a notice is [condition, text]");
  Notice notice;
  notice.place = place;
  notice.when = Expr::parse(text_of(json[0], "the condition"));
  notice.text = text_of(json[1], "the text");
  if (notice.text.empty()) bad_input("the text is empty");
  return notice;
}

}  // namespace mappings
