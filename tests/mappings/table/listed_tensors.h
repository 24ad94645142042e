// Reads lists of tensors (data/keys): name, dtype and dims of each, as a release's shards or a
// Megatron checkpoint give them.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <map>
#include <sstream>
#include <string>

#include "bridge/io/number/dtype.h"
#include "tests/data_dir.h"

namespace mappings {

struct ListedTensor {
  std::string dtype;
  bridge::Shape shape;

  bool operator==(const ListedTensor&) const = default;
};

inline std::map<std::string, ListedTensor> listed_tensors(const std::string& file) {
  const std::string path = data_dir() + "/keys/" + file;
  gzFile in = gzopen(path.c_str(), "rb");
  EXPECT_NE(in, nullptr) << path;
  std::map<std::string, ListedTensor> tensors;
  char line[1024];
  while (in != nullptr && gzgets(in, line, sizeof line) != nullptr) {
    std::istringstream fields(line);
    std::string name, dims;
    ListedTensor tensor;
    fields >> name >> tensor.dtype >> dims;
    std::istringstream numbers(dims);
    for (std::string number; std::getline(numbers, number, ',');) {
      tensor.shape.push_back(std::stoll(number));
    }
    EXPECT_TRUE(tensors.emplace(name, tensor).second) << name;
  }
  if (in != nullptr) gzclose(in);
  return tensors;
}

}  // namespace mappings
