// Which options of a verification go together.
#pragma once

#include "models/verify/verification.h"

namespace models {

// Refuses options that contradict each other or would have no effect, before anything is opened: a
// user would not notice the mistake. Errors: kUsage, and those of parse_recompute().
void check_together(const VerificationOptions& options);

}  // namespace models
