#include "bridge/io/base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace bridge {

bool has_avx2() {
#if defined(__x86_64__)
  unsigned int a = 0;
  unsigned int b = 0;
  unsigned int c = 0;
  unsigned int d = 0;
  // clang 14 supports the name "avx2" (and checks that the kernel saves its registers), but not
  // "f16c".
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

}  // namespace bridge
