// The syntax tree of an expression: what expr_parse.cpp makes and expr_eval.cpp walks. Internal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mappings/expr/expr.h"

namespace mappings {

enum class Operator {
  kNot,
  kNegate,
  kOr,
  kAnd,
  kCoalesce,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kRemainder,
};

struct Expr::Node {
  enum class Kind {
    kLiteral,
    kName,
    kMember,
    kIndex,
    kList,
    kListFor,  // operands: body, count
    kCount,    // operands: value, list
    kLn,       // operands: a number
    kUnary,
    kBinary,
    kConditional
  };

  Kind kind = Kind::kLiteral;
  Operator op = Operator::kNot;  // kUnary, kBinary
  Json literal;                  // kLiteral
  std::string name;              // kName, kMember, kListFor: its variable
  std::vector<std::shared_ptr<const Node>> operands;
  int depth = 1;  // levels below and with this one; bounded, as evaluation recurses
};

}  // namespace mappings
