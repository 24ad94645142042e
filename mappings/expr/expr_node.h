// The syntax tree of an expression: expr_parse.cpp builds it and expr_eval.cpp walks it. Internal.
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
    kListFor,   // operands: body, count, and a condition where there is one
    kCount,     // operands: value, list
    kEndsWith,  // operands: text, end
    kLetters,   // operands: text
    kLength,    // operands: list or object
    kJoin,      // operands: a list of texts
    kLn,        // operands: a number; kSqrt and kRound too
    kSqrt,
    kRound,
    kUnary,
    kBinary,
    kConditional
  };

  Kind kind = Kind::kLiteral;
  Operator op = Operator::kNot;  // kUnary, kBinary
  Json literal;                  // kLiteral
  std::string name;              // kName, kMember, kListFor: its variable
  std::vector<std::shared_ptr<const Node>> operands;
  // The number of levels from this node down, itself included; bounded, because evaluation
  // recurses.
  int depth = 1;
};

}  // namespace mappings
