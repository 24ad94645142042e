// The plain data of a pickle (numbers, text, booleans, None and lists of these) as JSON. What else an object holds,
// functions and enumerations, is passed over.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>

#include "bridge/io/pickle/pickle.h"

namespace bridge {

// The attributes of an argparse.Namespace, or the items of a dict. Errors: kBadInput for another node, for more than
// `most` of them, and for values that are too many once shared parts are copied.
nlohmann::ordered_json plain_attributes(const PickleNode& object, size_t most);

}  // namespace bridge
