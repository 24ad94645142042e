// The plain data of a pickle (numbers, text, booleans, None and lists of these) as JSON. Everything
// else that an object holds, such as functions and enumerations, is skipped.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>

#include "bridge/io/pickle/pickle.h"

namespace bridge {

// Returns the attributes of an argparse.Namespace, or the items of a dict. Errors: kBadInput for
// any other node, for more than `most` attributes, and for too many values once shared parts are
// copied.
nlohmann::ordered_json plain_attributes(const PickleNode& object, size_t most);

}  // namespace bridge
