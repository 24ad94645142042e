// The mapping registries of Megatron-Bridge (data/reference_mappings), line by line.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "mappings/binding/logical_tensor.h"
#include "mappings/table/table.h"
#include "tests/data_dir.h"

namespace mappings {

struct ReferenceRow {
  std::string megatron;  // '*' stands for a number
  std::string hf;
  std::string kind;
  std::string extra;  // what a mapping has besides
};

inline std::vector<ReferenceRow> read_reference_rows(const std::string& name) {
  std::ifstream in(data_dir() + "/reference_mappings/" + name + ".tsv");
  EXPECT_TRUE(in) << name;
  std::vector<ReferenceRow> rows;
  std::string line;
  std::getline(in, line);  // header
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    ReferenceRow row;
    std::getline(fields, row.megatron, '\t');
    std::getline(fields, row.hf, '\t');
    std::getline(fields, row.kind, '\t');
    std::getline(fields, row.extra, '\t');
    rows.push_back(std::move(row));
  }
  return rows;
}

// How Bridge calls what a row does with one of its HF tensors.
inline std::string kind_of(const LogicalTensor& tensor, size_t part) {
  static const char* const kQkv[] = {"QKVMapping[q]", "QKVMapping[k]", "QKVMapping[v]"};
  static const char* const kGated[] = {"GatedMLPMapping[gate]", "GatedMLPMapping[up]"};
  if (tensor.row->op == &ops::kQkv) return kQkv[part];
  if (tensor.row->gated) return kGated[part];
  return "AutoMapping";
}

}  // namespace mappings
