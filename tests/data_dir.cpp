#include "tests/data_dir.h"

std::string data_dir() {
  return CAUSEWAY_DATA_DIR;
}
