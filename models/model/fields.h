// Lists of a struct's fields, stated once for everything that walks over them (describe, check). A
// list that leaves a member out, or has one twice, does not compile.
#pragma once

#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "models/model/vision_tower.h"

namespace models {

template <typename Owner, typename T>
struct Field {
  std::string_view name;
  T Owner::*member;
};

template <typename Owner, typename T>
consteval Field<Owner, T> field(std::string_view name, T Owner::*member) {
  return {name, member};
}

// An optional VisionTower can be made of a VisionTower just as of itself, and the compiler takes
// neither of two ways.
template <typename T>
concept MadeInOneWay = !std::is_same_v<T, VisionTower>;

// What can stand for any member in the braces of an aggregate, to count them.
struct AnyMember {
  template <MadeInOneWay T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

template <typename Owner, typename... Found>
consteval size_t member_count() {
  if constexpr (requires { Owner{Found()..., AnyMember()}; }) {
    return member_count<Owner, Found..., AnyMember>();
  } else {
    return sizeof...(Found);
  }
}

template <typename A, typename B>
constexpr bool is_same_member(A a, B b) {
  if constexpr (std::is_same_v<A, B>) return a == b;
  return false;
}

// All fields of Owner, in the order in which they are described.
template <typename Owner, typename... T>
consteval std::tuple<Field<Owner, T>...> all_fields(Field<Owner, T>... fields) {
  static_assert(sizeof...(T) == member_count<Owner>(), "a member is missing in the list of fields");
  const auto times = [&](auto member) {
    return (0 + ... + int{is_same_member(member, fields.member)});
  };
  if (((times(fields.member) != 1) || ...)) throw "a member is twice in the list of fields";
  return {fields...};
}

// visit(name, value) for every field of a list.
template <typename Owner, typename Fields, typename Visit>
void for_each_field(const Owner& owner, const Fields& fields, const Visit& visit) {
  std::apply([&](const auto&... one) { (visit(one.name, owner.*one.member), ...); }, fields);
}

}  // namespace models
