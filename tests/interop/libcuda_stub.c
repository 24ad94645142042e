// Stands in for NVIDIA's driver, libcuda.so.1: it starts, counts and names devices as variables of the environment say, and
// nothing more. LibTorch's CUDA, which asks a driver for much more, then finds that it cannot compute on them.
#include <stdlib.h>
#include <string.h>

static int number(const char* variable, int otherwise) {
  const char* text = getenv(variable);
  return text == NULL ? otherwise : atoi(text);
}

int cuInit(unsigned flags) {
  (void)flags;
  return number("STUB_INIT", 0);
}

int cuDeviceGetCount(int* count) {
  *count = number("STUB_DEVICES", 1);
  return 0;
}

int cuDriverGetVersion(int* version) {
  *version = number("STUB_VERSION", 999000);
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}

int cuDeviceGetName(char* name, int length, int device) {
  (void)device;
  strncpy(name, "Stub GPU", (size_t)length);
  return 0;
}

int cuGetErrorString(int error, const char** text) {
  (void)error;
  *text = "the stub does not start";
  return 0;
}
