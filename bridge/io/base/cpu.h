// Instruction sets that the processor has beyond the one that the program is compiled for.
#pragma once

namespace bridge {

// True if the processor has AVX2 and F16C (the conversions of F16). False on processors other than
// x86-64.
bool has_avx2();

}  // namespace bridge
